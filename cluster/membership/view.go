package membership

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/memberlist"
)

// Meta describes a node to the others. Encoded it must fit into memberlist.MetaMaxSize (512
// bytes), so its keys are short.
type Meta struct {
	HTTP        string   `json:"h,omitempty"` // addresses, host:port
	RPC         string   `json:"r,omitempty"`
	Raft        string   `json:"f,omitempty"`
	Incarnation uint64   `json:"i,omitempty"` // rises with every start of the node
	Roles       []string `json:"o,omitempty"`
	Cluster     string   `json:"c,omitempty"` // id; empty while the node belongs to none
	Shards      uint32   `json:"s,omitempty"` // data shards of the cluster, for who joins it
	Leaving     bool     `json:"l,omitempty"` // the node is being stopped: it should be given nothing to lead
	Full        bool     `json:"u,omitempty"` // its disk is full: the same, and no replica
}

func (m Meta) encode() ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode meta: %w", err)
	}
	if len(b) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("meta has %d bytes, at most %d fit", len(b), memberlist.MetaMaxSize)
	}
	return b, nil
}

// Node is one node of a view. Gossip believes it alive, or has not yet given it up.
type Node struct {
	Name string
	Addr string // gossip address
	Meta Meta
}

// View is who was there at one moment. It never changes: share it freely.
type View struct {
	Number uint64 // rises with every publication of this process
	Nodes  []Node // by name, this node included
}

// Find gives the node of that name.
func (v *View) Find(name string) (Node, bool) {
	i, ok := slices.BinarySearchFunc(v.Nodes, name, func(n Node, name string) int { return cmp.Compare(n.Name, name) })
	if !ok {
		return Node{}, false
	}
	return v.Nodes[i], true
}

// newNode copies what memberlist says; a meta that cannot be read is left out.
func newNode(n *memberlist.Node) Node {
	node := Node{Name: n.Name, Addr: n.Address()}
	if json.Unmarshal(n.Meta, &node.Meta) != nil {
		node.Meta = Meta{}
	}
	return node
}

// foreign says that two nodes belong to different clusters. A node that belongs to none yet is
// foreign to nobody.
func (m Meta) foreign(o Meta) bool {
	return m.Cluster != "" && o.Cluster != "" && m.Cluster != o.Cluster
}

func newView(number uint64, nodes map[string]Node) *View {
	return &View{Number: number, Nodes: slices.SortedFunc(maps.Values(nodes), func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })}
}

// same says that two views tell the same.
func (v *View) same(o *View) bool {
	return slices.EqualFunc(v.Nodes, o.Nodes, func(a, b Node) bool {
		return a.Name == b.Name && a.Addr == b.Addr && a.Meta.same(b.Meta)
	})
}

func (m Meta) same(o Meta) bool {
	return m.HTTP == o.HTTP && m.RPC == o.RPC && m.Raft == o.Raft && m.Incarnation == o.Incarnation &&
		m.Cluster == o.Cluster && m.Shards == o.Shards && m.Leaving == o.Leaving && m.Full == o.Full && slices.Equal(m.Roles, o.Roles)
}
