package picture

import (
	"context"
	"image"
	"image/draw"
)

// Upright turns and mirrors src as its EXIF orientation (1 to 8) says.
func Upright(ctx context.Context, src image.Image, orientation int) (image.Image, error) {
	if orientation <= 1 || orientation > 8 {
		return src, nil
	}
	from := src.Bounds()
	w, h := from.Dx(), from.Dy()
	if orientation >= 5 {
		w, h = h, w
	}
	dst, row := newCanvas(src, w, h), newCanvas(src, from.Dx(), 1)
	for y := range from.Dy() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		draw.Draw(row.Image, row.Bounds(), src, image.Pt(from.Min.X, from.Min.Y+y), draw.Src)
		dst.place(row.pix, y, orientation)
	}
	return dst.Image, nil
}

// canvas is an image of four bytes a pixel.
type canvas struct {
	draw.Image
	pix    []byte
	stride int
}

// newCanvas makes a canvas for what is drawn from src: without loss for transparent sources, fast
// for the rest.
func newCanvas(src image.Image, w, h int) canvas {
	bounds := image.Rect(0, 0, w, h)
	switch src.(type) {
	case *image.YCbCr, *image.Gray, *image.CMYK:
		m := image.NewRGBA(bounds)
		return canvas{m, m.Pix, m.Stride}
	default:
		m := image.NewNRGBA(bounds)
		return canvas{m, m.Pix, m.Stride}
	}
}

// place puts row y of the stored image where it belongs: along a row or a column, in one direction
// or the other.
func (c canvas) place(row []byte, y, orientation int) {
	right, bottom := c.Bounds().Dx()-1, c.Bounds().Dy()-1
	at := func(x, y int) int { return y*c.stride + 4*x }
	var start, step int
	switch orientation {
	case 2: // mirrored
		start, step = at(right, y), -4
	case 3: // upside down
		start, step = at(right, bottom-y), -4
	case 4: // upside down, mirrored
		start, step = at(0, bottom-y), 4
	case 5: // a quarter to the left, mirrored
		start, step = at(y, 0), c.stride
	case 6: // must be turned to the right
		start, step = at(right-y, 0), c.stride
	case 7: // a quarter to the right, mirrored
		start, step = at(right-y, bottom), -c.stride
	case 8: // must be turned to the left
		start, step = at(y, bottom), -c.stride
	}
	for i := 0; i+4 <= len(row); i += 4 {
		copy(c.pix[start:start+4], row[i:i+4])
		start += step
	}
}
