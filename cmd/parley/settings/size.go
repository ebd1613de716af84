package settings

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// autoSize leaves a size to who knows what it is of.
const autoSize = "auto"

// units are those of sizes, by what stands behind the number.
var units = []struct {
	name  string
	bytes uint64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}}

// MinFreeBytes is MinFreeSpace as a number, 0 for "auto": see store.Options.MinFreeBytes.
func (s Settings) MinFreeBytes() (uint64, error) {
	if s.MinFreeSpace == autoSize {
		return 0, nil
	}
	for _, u := range units {
		number, ok := strings.CutSuffix(s.MinFreeSpace, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 64)
		if over, bytes := bits.Mul64(n, u.bytes); err == nil && over == 0 && bytes > 0 {
			return bytes, nil
		}
	}
	return 0, fmt.Errorf("min-free-space %q: must be auto, or a whole number above 0 with KiB, MiB, GiB or TiB, such as 2GiB", s.MinFreeSpace)
}
