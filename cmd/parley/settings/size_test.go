package settings

import "testing"

func TestMinFreeSpace(t *testing.T) {
	for text, want := range map[string]uint64{"auto": 0, "1KiB": 1 << 10, "500MiB": 500 << 20, "2 GiB": 2 << 30, "16TiB": 16 << 40} {
		s := Default()
		s.MinFreeSpace = text
		if got, err := s.MinFreeBytes(); got != want || err != nil {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0GiB", "-1GiB", "1.5GiB", "5", "GiB", "10GB", "99999999999TiB"} {
		s := Default()
		s.MinFreeSpace = text
		if err := s.Validate(); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
