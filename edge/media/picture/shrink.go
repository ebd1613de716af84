package picture

import (
	"context"
	"image"
	"image/draw"
)

// Shrink gives src with w x h pixels, no side larger than before. Each new pixel is the exact
// average of the area that it covers. Beside the result it needs memory for a few rows.
func Shrink(ctx context.Context, src image.Image, w, h int) (image.Image, error) {
	from := src.Bounds()
	if from.Dx() == w && from.Dy() == h {
		return src, nil
	}
	s := &shrinker{
		dst: image.NewRGBA(image.Rect(0, 0, w, h)), from: from,
		across: make([]uint32, 4*w), down: make([]uint64, 4*w),
		room: from.Dy(), total: uint64(from.Dx()) * uint64(from.Dy()),
	}
	row := image.NewRGBA(image.Rect(0, 0, from.Dx(), 1))
	for y := from.Min.Y; y < from.Max.Y; y++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		draw.Draw(row, row.Rect, src, image.Pt(from.Min.X, y), draw.Src)
		s.addRow(row.Pix)
	}
	return s.dst, nil
}

// shrinker averages rows into rows. All is counted in whole parts: along a side of n pixels that
// becomes m, every old pixel is m parts long and every new one n parts.
type shrinker struct {
	dst    *image.RGBA
	from   image.Rectangle
	across []uint32 // the row at hand, shrunk in width: sums of value x parts
	down   []uint64 // the new row, as far as it is covered
	row    int      // the new row's number
	room   int      // parts of it that are still free
	total  uint64   // parts of a whole new pixel: the product of the old sides
}

func (s *shrinker) addRow(pix []byte) {
	s.addAcross(pix)
	for left := s.dst.Rect.Dy(); left > 0; {
		n := min(left, s.room)
		for i, v := range s.across {
			s.down[i] += uint64(v) * uint64(n)
		}
		left, s.room = left-n, s.room-n
		if s.room == 0 {
			s.finishRow()
		}
	}
}

// addAcross shrinks one row in width. Sums stay below 2^8 x 2^16.
func (s *shrinker) addAcross(pix []byte) {
	clear(s.across)
	each, full := uint32(s.dst.Rect.Dx()), uint32(s.from.Dx())
	at, room := 0, full
	for i := 0; i+4 <= len(pix); i += 4 {
		p := pix[i : i+4 : i+4]
		for left := each; left > 0; {
			n := min(left, room)
			sum := s.across[at : at+4 : at+4]
			sum[0] += uint32(p[0]) * n
			sum[1] += uint32(p[1]) * n
			sum[2] += uint32(p[2]) * n
			sum[3] += uint32(p[3]) * n
			left, room = left-n, room-n
			if room == 0 {
				at, room = at+4, full
			}
		}
	}
}

func (s *shrinker) finishRow() {
	out := s.dst.Pix[s.row*s.dst.Stride:]
	for i, sum := range s.down {
		out[i] = uint8((sum + s.total/2) / s.total)
	}
	clear(s.down)
	s.row, s.room = s.row+1, s.from.Dy()
}
