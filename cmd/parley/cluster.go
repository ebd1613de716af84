package main

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"parley/actors/driver"
	"parley/edge/admin"
)

func newCluster(t *terminal) *cobra.Command {
	command := &cobra.Command{Use: "cluster", Short: "Look after the cluster"}
	status := &cobra.Command{
		Use: "status", Short: "Show nodes, shards, what is under way and what is missing",
		Args: between(0, 0, "none"),
		RunE: func(command *cobra.Command, _ []string) error { return clusterStatus(t, command) },
	}
	rebalance := &cobra.Command{
		Use: "rebalance", Short: "Spread the leaderships evenly over the nodes",
		Long: "Spread the leaderships evenly over the nodes. Replicas and leaderships are balanced without this command, too, but\n" +
			"with some slack, so that they do not move to and fro when a node restarts.",
		Args: between(0, 0, "none"),
		RunE: func(command *cobra.Command, _ []string) error { return rebalance(t, command) },
	}
	for _, c := range []*cobra.Command{status, rebalance} {
		addTargetFlags(c)
		command.AddCommand(c)
	}
	command.AddCommand(newRecover(t))
	rebalance.Flags().Bool("yes", false, "do not ask")
	return command
}

func newNode(t *terminal) *cobra.Command {
	command := &cobra.Command{Use: "node", Short: "Drain, take back or remove a node"}
	for _, v := range nodeVerbs() {
		c := &cobra.Command{
			Use: v.name + " NAME", Short: v.short, Long: v.long, Args: between(1, 1, "NAME"),
			RunE: func(command *cobra.Command, args []string) error { return changeNode(t, command, v, args[0]) },
		}
		addTargetFlags(c)
		c.Flags().Bool("yes", false, "do not ask")
		c.Flags().Bool("no-wait", false, "return at once; the cluster goes on by itself")
		if v.name == "remove" {
			c.Flags().Bool("force", false, "remove although fewer than three nodes are left")
		}
		command.AddCommand(c)
	}
	return command
}

// nodeVerb is one thing to do with a node.
type nodeVerb struct {
	name, short, long string
	ask               string // what will happen; %s is the node
	// remaining says what is left to do; empty when nothing is.
	remaining func(s *admin.Status, node string) string
}

func nodeVerbs() []nodeVerb {
	return []nodeVerb{{
		name: "drain", short: "Take the leaderships and clients from a node, for maintenance",
		long: "Take the leaderships and clients from a node. It keeps its copies of the data and stays a member; stop it, work on\n" +
			"it, start it, and take it back with 'parley node undrain NAME'.",
		ask: "Node %s will hand over what it leads and send its clients to other nodes. It keeps its data.",
		remaining: func(s *admin.Status, node string) string {
			n, _ := find(s, node)
			switch {
			case n.Leads > 0:
				return count(n.Leads, "leadership") + " to hand over"
			case mute(s, n):
				return count(s.LeaderlessShards, "shard") + " of which no leader answers"
			case n.Away != nil && !*n.Away:
				return "clients to send away"
			}
			return ""
		},
	}, {
		name: "undrain", short: "Let a drained node lead again",
		ask: "Node %s will lead shards and serve clients again.",
		remaining: func(s *admin.Status, node string) string {
			if n, _ := find(s, node); n.State == "draining" || n.Away != nil && *n.Away || n.Away == nil && mute(s, n) {
				return "it does not serve clients yet"
			}
			return ""
		},
	}, {
		name: "remove", short: "Move a node's replicas elsewhere and end its membership, for good",
		long: "Move a node's replicas to other nodes and end its membership. This cannot be undone: its data directory is refused\n" +
			"from then on. A node whose disk is lost is removed in the same way; then start a new one with an empty directory.",
		ask: "Node %s will be removed for good: its replicas move to other nodes, and its data directory will be refused.",
		remaining: func(s *admin.Status, node string) string {
			n, member := find(s, node)
			switch {
			case n.Holds > 0:
				return count(n.Holds, "replica") + " to move"
			case member:
				return "its membership to end"
			}
			return ""
		},
	}}
}

// mute says that a node may be one that did not answer in time, as happens on a busy machine: of what it leads,
// and whether it is away, the status then says nothing.
func mute(s *admin.Status, n admin.Node) bool { return n.Live && s.LeaderlessShards > 0 }

func find(s *admin.Status, node string) (admin.Node, bool) {
	for _, n := range s.Nodes {
		if n.Name == node && n.State != "joining" {
			return n, true
		}
	}
	return admin.Node{}, false
}

// noMember says that a node is none, and which there are.
func noMember(s *admin.Status, node string) error {
	var names []string
	for _, n := range s.Nodes {
		if _, member := find(s, n.Name); member {
			names = append(names, n.Name)
		}
	}
	return fmt.Errorf("no member is called %q (members: %s)%s", node, strings.Join(names, ", "), didYouMean(node, names))
}

func clusterStatus(t *terminal, command *cobra.Command) error {
	o, err := openOperator(t, command)
	if err != nil {
		return err
	}
	defer o.close()
	s, err := o.status(command.Context())
	if err != nil {
		return err
	}
	if flagSet(command, "json") {
		return printJSON(command.OutOrStdout(), s)
	}
	return printStatus(command.OutOrStdout(), s)
}

// stateOf is a node's state, with what an operator should look at.
func stateOf(n admin.Node) string {
	state := n.State
	if !n.Live && (state == "draining" || state == "removing") {
		state += ", down"
	}
	if n.DiskFull {
		state += ", disk full"
	}
	return state
}

func printStatus(w io.Writer, s *admin.Status) error {
	rows := make([][]string, 0, len(s.Nodes))
	for _, n := range s.Nodes {
		rows = append(rows, []string{n.Name, stateOf(n), strings.Join(n.Roles, ","), strconv.Itoa(n.Leads), strconv.Itoa(n.Holds),
			strconv.FormatUint(n.LagEntries, 10), n.HTTP})
	}
	fmt.Fprintf(w, "Cluster %s, version %d\n\n", s.ClusterID, s.Version)
	if err := printTable(w, []string{"node", "state", "roles", "leads", "holds", "lag", "http"}, rows); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s, %d under-replicated, %d without a leader; %s\n",
		count(s.Shards, "shard"), s.UnderReplicatedShards, s.LeaderlessShards, tolerance(s))
	if s.WaitingForSpace > 0 {
		lack := "lack"
		if s.WaitingForSpace == 1 {
			lack = "lacks"
		}
		fmt.Fprintf(w, "%s %s a replica because every disk that could take it is full.\n", count(s.WaitingForSpace, "shard"), lack)
	}
	if len(s.Operations) == 0 {
		_, err := fmt.Fprintln(w, "Nothing is under way.")
		return err
	}
	fmt.Fprintf(w, "\n%s under way:\n", count(len(s.Operations), "operation"))
	for _, o := range s.Operations {
		about := "node " + o.Node
		if o.Shard != nil {
			about = fmt.Sprintf("shard %d", *o.Shard)
		}
		fmt.Fprintf(w, "  %s %s: %s\n", o.Kind, about, o.Detail)
	}
	return nil
}

func tolerance(s *admin.Status) string {
	keepers := 0 // nodes that keep data, whether they are up or not
	for _, n := range s.Nodes {
		if slices.Contains(n.Roles, driver.RoleShards) {
			keepers++
		}
	}
	switch n := s.FailuresTolerated; {
	case n == 0 && keepers >= 3:
		return "no further failure is tolerated"
	case n == 0:
		return "no failure is tolerated: with three nodes or more, one would be"
	case n == 1:
		return "1 node may fail"
	default:
		return fmt.Sprintf("%d nodes may fail at once", n)
	}
}

func rebalance(t *terminal, command *cobra.Command) error {
	o, err := openOperator(t, command)
	if err != nil {
		return err
	}
	defer o.close()
	if err := confirm(t, command, "Leaderships will move until no node leads much more than another. Clients notice a short pause."); err != nil {
		return err
	}
	if err := o.change(command.Context(), "rebalance", struct{}{}); err != nil {
		return err
	}
	return watch(t, command, o, task{"rebalance", func(s *admin.Status) string {
		if n := spread(s); n > 0 {
			return count(n, "leadership") + " out of balance"
		}
		return ""
	}})
}

// spread is by how much the nodes that lead differ, beyond what cannot be avoided.
func spread(s *admin.Status) int {
	least, most := -1, 0
	for _, n := range s.Nodes {
		if n.State != "up" || n.Holds == 0 {
			continue
		}
		if least < 0 || n.Leads < least {
			least = n.Leads
		}
		most = max(most, n.Leads)
	}
	return max(most-max(least, 0)-2, 0)
}

func changeNode(t *terminal, command *cobra.Command, v nodeVerb, node string) error {
	o, err := openOperator(t, command)
	if err != nil {
		return err
	}
	defer o.close()
	of := task{v.name + " " + node, func(s *admin.Status) string { return v.remaining(s, node) }}
	s, err := o.status(command.Context())
	if err != nil {
		return err
	}
	n, member := find(s, node)
	if !member && v.name == "remove" && slices.Contains(s.Removed, node) {
		return done(command, of.name) // by an earlier run of this command
	}
	if !member {
		return noMember(s, node)
	}
	if err := confirm(t, command, fmt.Sprintf(v.ask, node)+fmt.Sprintf(" It leads %s and holds %d.", count(n.Leads, "shard"), n.Holds)); err != nil {
		return err
	}
	body := map[string]bool{}
	if v.name == "remove" {
		body["force"] = flagSet(command, "force")
	}
	if err := o.change(command.Context(), "nodes/"+url.PathEscape(node)+"/"+v.name, body); err != nil {
		return err
	}
	if flagSet(command, "no-wait") {
		return begun(command, of.name)
	}
	return watch(t, command, o, of)
}
