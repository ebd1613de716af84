package runtime

import (
	"slices"
	"testing"

	"parley/cluster/membership"
)

// TestWhoIsGone: who is not in the later view any more, and whose name another one has taken over with an empty disk and
// a clock that is behind; not who has started again.
func TestWhoIsGone(t *testing.T) {
	view := func(lives ...uint64) *membership.View {
		v := &membership.View{}
		for i, life := range lives {
			if life > 0 {
				v.Nodes = append(v.Nodes, membership.Node{Name: string(rune('a' + i)), Meta: membership.Meta{Incarnation: life}})
			}
		}
		return v
	}
	if got := gone(view(5, 5, 5, 5, 0), view(5, 6, 0, 4, 1)); !slices.Equal(got, []string{"c", "d"}) {
		t.Errorf("%v are gone", got)
	}
}
