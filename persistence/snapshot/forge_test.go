package snapshot_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/persistence/keys"
	"parley/persistence/snapshot"
)

// forge builds a stream by hand, with right checksums, so that only its content is wrong.
type forge struct {
	b   []byte
	sum uint32
}

func newForge(s keys.Shard, version byte) *forge {
	b := append([]byte("parleysn"), version)
	b = binary.BigEndian.AppendUint32(b, uint32(s))
	f := &forge{sum: crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))}
	f.b = binary.BigEndian.AppendUint32(b, f.sum)
	return f
}

func (f *forge) part(length uint32, payload []byte) *forge {
	prefix := binary.BigEndian.AppendUint32(nil, length)
	table := crc32.MakeTable(crc32.Castagnoli)
	f.sum = crc32.Update(crc32.Update(f.sum, table, prefix), table, payload)
	f.b = append(binary.BigEndian.AppendUint32(append(f.b, prefix...), f.sum), payload...)
	return f
}

func (f *forge) chunk(rows ...string) *forge {
	var b []byte
	for i := 0; i < len(rows); i += 2 {
		b = binary.AppendUvarint(b, uint64(len(rows[i])))
		b = binary.AppendUvarint(b, uint64(len(rows[i+1])))
		b = append(append(b, rows[i]...), rows[i+1]...)
	}
	return f.part(uint32(len(b)), b)
}

func (f *forge) end(rows, size uint64) []byte {
	return f.part(0, binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, rows), size)).b
}

func TestForeignAndDisorderlyStreamsAreRefused(t *testing.T) {
	r, e1, e2 := replica(shard), event(shard, 1), event(shard, 2)
	size := func(n int) uint64 { return uint64(len(r) + n*len(e1)) }
	for name, c := range map[string]struct {
		stream []byte
		want   string
	}{
		"intact":            {newForge(shard, 1).chunk(r, "").chunk(e1, "", e2, "").end(3, size(2)), ""},
		"another shard":     {newForge(shard+1, 1).chunk(replica(shard+1), "").end(1, size(0)), "it is of shard 6, not 5"},
		"another version":   {newForge(shard, 2).end(0, 0), "version 2, this node knows 1"},
		"nothing":           {newForge(shard, 1).end(0, 0), "no replica row"},
		"no replica row":    {newForge(shard, 1).chunk(e1, "").end(1, uint64(len(e1))), "no replica row"},
		"key above":         {newForge(shard, 1).chunk(r, "", event(shard+1, 1), "").end(2, size(1)), "outside the shard"},
		"key below":         {newForge(shard, 1).chunk(event(shard-1, 1), "").end(1, 0), "outside the shard"},
		"descending":        {newForge(shard, 1).chunk(r, "", e2, "", e1, "").end(3, size(2)), "does not ascend"},
		"twice":             {newForge(shard, 1).chunk(r, "", e1, "").chunk(e1, "").end(3, size(2)), "does not ascend"},
		"row count":         {newForge(shard, 1).chunk(r, "").end(2, size(0)), "were sent"},
		"byte count":        {newForge(shard, 1).chunk(r, "").end(1, 1), "were sent"},
		"huge chunk":        {newForge(shard, 1).part(1<<31, nil).b, "the most is"},
		"long key":          {newForge(shard, 1).chunk(r+strings.Repeat("k", 4<<10), "").end(1, 0), "key length"},
		"empty key":         {newForge(shard, 1).chunk("", "v").end(1, 0), "key length"},
		"long value":        {newForge(shard, 1).part(4, []byte{1, 0xff, 0xff, 0x7f}).b, "a row runs over its chunk"},
		"longer value":      {newForge(shard, 1).part(5, []byte{1, 0xff, 0xff, 0xff, 0x7f}).b, "value length"},
		"unfinished length": {newForge(shard, 1).part(1, []byte{0x80}).b, "key length"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := receive(t, open(t, vfs.NewMem()), bytes.NewReader(c.stream))
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (!errors.Is(err, snapshot.ErrMalformed) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("file %v, error %v", f, err)
			}
		})
	}
}

func FuzzReceive(f *testing.F) {
	_, stream := small(f)
	f.Add(stream)
	f.Add(stream[:30])
	f.Add(newForge(shard, 1).chunk(replica(shard), "x").end(1, 7))
	to := open(f, vfs.NewMem())
	f.Fuzz(func(t *testing.T, stream []byte) {
		got, err := receive(t, to, bytes.NewReader(stream))
		if err != nil {
			if !errors.Is(err, snapshot.ErrMalformed) {
				t.Errorf("not called malformed: %v", err)
			}
			return
		}
		if err := got.Remove(); err != nil {
			t.Error(err)
		}
	})
}
