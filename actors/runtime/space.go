package runtime

import (
	"context"

	"parley/cluster/membership"
)

// describe changes what this node says of itself in the gossip.
func (r *Runtime) describe(change func(*membership.Meta)) {
	r.describing.Lock()
	defer r.describing.Unlock()
	change(&r.meta)
	if err := r.members.UpdateMeta(r.meta); err != nil {
		r.options.Logger.Debug("others were not told of a change of this node", "error", err)
	}
}

// onSpace hears from the host that the disk is full, or has space again. It must not block.
func (r *Runtime) onSpace(bool) {
	select {
	case r.spaces <- struct{}{}:
	default:
	}
}

// tellSpace tells the others whether this node's disk is full, and the host whose of the others are. Both are
// hints: who has not heard yet asks too much of a node, which refuses it.
func (r *Runtime) tellSpace(ctx context.Context) {
	views, stop := r.members.Watch()
	defer stop()
	known := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.spaces:
			full := r.host.Full()
			r.describe(func(m *membership.Meta) { m.Full = full })
		case view := <-views:
			r.noteSpace(known, view)
		}
	}
}

// noteSpace passes on what has changed since known. Of a node that is gone nothing is known.
func (r *Runtime) noteSpace(known map[string]bool, view *membership.View) {
	for name := range known {
		if _, there := view.Find(name); !there {
			delete(known, name)
			r.host.PeerSpace(name, false)
		}
	}
	for _, n := range view.Nodes {
		if n.Name == r.options.NodeName || n.Meta.Full == known[n.Name] {
			continue
		}
		r.host.PeerSpace(n.Name, n.Meta.Full)
		if known[n.Name] = n.Meta.Full; !n.Meta.Full {
			delete(known, n.Name)
		}
	}
}

// Full implements driver.Cluster.
func (r *Runtime) Full() []string {
	var names []string
	for _, n := range r.members.View().Nodes {
		if n.Meta.Full {
			names = append(names, n.Name)
		}
	}
	return names
}
