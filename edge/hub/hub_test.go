package hub

import (
	"testing"
	"testing/synctest"
)

// TestAClosedHubAsksNothing: Close waits for what is on its way, and nothing new begins.
func TestAClosedHubAsksNothing(t *testing.T) {
	edge(t, nil, func(t *testing.T, h *Hub, c *cluster) {
		c.gate = make(chan struct{})
		listen(h, c, "CON-tea")
		synctest.Wait()
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		listen(h, c, "CON-cake")
		synctest.Wait()
		if inside, _ := c.atOnce(); inside != 0 || c.registrations() != 0 {
			t.Errorf("%d questions on their way, %d answered", inside, c.registrations())
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"grace": func(o *Options) { o.Grace = 0 }, "refresh": func(o *Options) { o.Refresh = -1 },
		"asks": func(o *Options) { o.AsksMax = 0 }, "recent": func(o *Options) { o.RecentMax = -1 },
		"cursors": func(o *Options) { o.CursorsEvery = 0 }, "page": func(o *Options) { o.PageBytes = 0 }, "logger": func(o *Options) { o.Logger = nil },
	} {
		o := DefaultOptions()
		change(&o)
		if _, err := New(nil, o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
