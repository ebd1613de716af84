package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"parley/actors/runtime"
	"parley/cluster/recovery"
	"parley/persistence/store"
	"parley/proto/id"
)

const recoverLong = `Bring back shards whose majority is lost for good. This is the last resort: it works on the directory of a
STOPPED node that survived, and gives up what only the lost nodes had.

For each shard without a quorum the surviving replica with the longest log becomes the only voter. Shards that
have a quorum are left alone. The stores of the nodes named with --dead are refused for ever.

What may be lost: events that were acknowledged by a majority that is dead now, before the surviving replica
had received them. Sends whose outcome was unknown may have happened.

With one survivor: stop it, give this command, start it, and let new nodes join. With several: stop all of them,
write a report on each (--write-report), and give the command on each with the reports of the others (--report).
It refuses while a node that is said to be dead answers, while a member that keeps data has neither reported nor is
said to be dead, and when no shard needs it.`

func newRecover(t *terminal) *cobra.Command {
	command := &cobra.Command{
		Use: "unsafe-recover --data-dir DIRECTORY --dead NODE,…", Short: "Bring back shards whose majority is lost for good, giving up data",
		Long: recoverLong, Args: between(0, 0, "none"),
		RunE: func(command *cobra.Command, _ []string) error { return unsafeRecover(t, command) },
	}
	f := command.Flags()
	f.String("data-dir", "", "the stopped node's directory")
	f.StringSlice("dead", nil, "names of the nodes that are lost for good")
	f.StringSlice("report", nil, "reports of the other survivors")
	f.String("write-report", "", "only write this survivor's report to a file")
	f.Bool("yes", false, "do not ask")
	return command
}

func unsafeRecover(t *terminal, command *cobra.Command) (err error) {
	dir, dirErr := command.Flags().GetString("data-dir")
	dead, deadErr := command.Flags().GetStringSlice("dead")
	reports, reportsErr := command.Flags().GetStringSlice("report")
	file, fileErr := command.Flags().GetString("write-report")
	switch err := errors.Join(dirErr, deadErr, reportsErr, fileErr); {
	case err != nil:
		return err
	case dir == "":
		return usagef("missing flag: --data-dir")
	case len(dead) == 0 && file == "":
		return usagef("missing flag: --dead, the names of the nodes that are lost for good")
	}
	s, err := openSurvivor(command.Context(), t.path(dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.store.Close()) }()
	if file != "" {
		return s.write(t, command, file)
	}
	all, err := s.reports(t, reports)
	if err != nil {
		return err
	}
	if err := s.absent(command.Context(), recovery.Members(all), dead); err != nil {
		return err
	}
	plan, err := recovery.Decide(all, dead)
	if err != nil {
		return err
	}
	if err := s.explain(t.err, plan); err != nil {
		return err
	}
	if err := confirm(t, command, "This cannot be undone."); err != nil {
		return err
	}
	if err := recovery.Apply(command.Context(), s.store, plan, id.New(id.Application)); err != nil {
		return err
	}
	return tell(t, command, map[string]any{"recovered_shards": s.mine(plan), "dead": dead, "node": s.report.Node},
		fmt.Sprintf("Recovered. Start node %s as before; when it serves, let new nodes join it.", s.report.Node))
}

// survivor is the store of a stopped node.
type survivor struct {
	store  *store.Store
	report *recovery.Report
}

func openSurvivor(ctx context.Context, dir string) (*survivor, error) {
	if _, err := os.Stat(filepath.Join(dir, "log")); err != nil {
		return nil, fmt.Errorf("%s is not the data directory of a node: %w", dir, err)
	}
	o := store.DefaultOptions()
	o.Logger = slog.New(slog.DiscardHandler)
	st, err := store.Open(dir, o)
	if err != nil {
		return nil, fmt.Errorf("open the store (the node must be stopped): %w", err)
	}
	s := &survivor{store: st}
	if err := s.read(ctx); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return s, nil
}

func (s *survivor) read(ctx context.Context) (err error) {
	if err := recovery.Replay(ctx, s.store); err != nil {
		return err
	}
	if s.report, err = recovery.Survey(s.store); err != nil {
		return err
	}
	s.report.Members, err = runtime.MembersIn(s.store)
	return err
}

// write leaves the report for the command on the other survivors.
func (s *survivor) write(t *terminal, command *cobra.Command, file string) error {
	text, err := json.Marshal(s.report)
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	if err := os.WriteFile(t.path(file), append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return tell(t, command, map[string]any{"report": file, "node": s.report.Node},
		fmt.Sprintf("Report of node %s written to %s. Leave the node stopped.", s.report.Node, file))
}

// absent says whether the dead are members, or were, and that none of them answers. At the address of a
// store that was removed before, anybody may be by now.
func (s *survivor) absent(ctx context.Context, members []recovery.Member, dead []string) error {
	for _, name := range dead {
		if !slices.ContainsFunc(members, func(m recovery.Member) bool { return m.Node == name }) {
			return usagef("this cluster has no member %q; it has %s", name, strings.Join(names(members), ", "))
		}
	}
	for _, m := range members {
		switch {
		case m.Removed || !slices.Contains(dead, m.Node):
			continue
		case m.Store == s.report.Store:
			return usagef("%s is this very node", m.Node)
		}
		if address := answering(ctx, m.Addresses...); address != "" {
			return fmt.Errorf("node %s answers at %s: it is not dead, so a quorum may be there; nothing was done", m.Node, address)
		}
	}
	return nil
}

func names(members []recovery.Member) (names []string) {
	for _, m := range members {
		if !slices.Contains(names, m.Node) {
			names = append(names, m.Node)
		}
	}
	return names
}

// answerWithin is how long a node that is said to be dead may take to prove the contrary.
const answerWithin = 2 * time.Second

// answering gives the first address at which somebody takes connections, "" for none.
func answering(ctx context.Context, addresses ...string) string {
	d := net.Dialer{Timeout: answerWithin}
	for _, a := range addresses {
		if conn, err := d.DialContext(ctx, "tcp", a); err == nil {
			_ = conn.Close() // nothing was sent
			return a
		}
	}
	return ""
}

// reportBytesMax bounds a report that is read.
const reportBytesMax = 16 << 20

// reports are this survivor's and those of the others.
func (s *survivor) reports(t *terminal, files []string) ([]*recovery.Report, error) {
	reports := []*recovery.Report{s.report}
	for _, name := range files {
		f, err := os.Open(t.path(name))
		if err != nil {
			return nil, fmt.Errorf("read a report: %w", err)
		}
		r := &recovery.Report{}
		err = json.NewDecoder(io.LimitReader(f, reportBytesMax)).Decode(r)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("read the report %s: %w", name, err)
		}
		reports = append(reports, r)
	}
	return reports, nil
}

// mine counts the shards that are recovered in this store.
func (s *survivor) mine(p *recovery.Plan) (n int) {
	for _, c := range p.Chosen {
		if c.Node == s.report.Node {
			n++
		}
	}
	return n
}

// explain tells what will be done, shard by shard.
func (s *survivor) explain(w io.Writer, p *recovery.Plan) error {
	fmt.Fprintf(w, "UNSAFE RECOVERY of cluster %s, in the store of node %s\n\n", p.Cluster, s.report.Node)
	for _, d := range p.Gone {
		fmt.Fprintf(w, "Node %s is lost: its store %s will be refused for ever.\n", d.Node, d.UUID)
	}
	for _, c := range p.Chosen {
		fmt.Fprintf(w, "Shard %d had its voters on %s. ", c.Shard, strings.Join(c.Before, ", "))
		switch replica, dropped := c.Dropped[s.report.Node]; {
		case c.Node == s.report.Node:
			fmt.Fprintf(w, "Replica %d, here, becomes the only one: its log ends at %d of term %d, %d entries of it of unknown outcome.\n", c.ID, c.Last, c.Term, c.Unsure)
		case dropped:
			fmt.Fprintf(w, "Node %s has the longest log; replica %d, here, is dropped and made anew.\n", c.Node, replica)
		default:
			fmt.Fprintf(w, "Node %s has the longest log; what is here of it without state, if anything, is dropped.\n", c.Node)
		}
	}
	if len(p.Lost) > 0 {
		fmt.Fprintf(w, "LOST: no survivor has anything of %d shards: %v. They stay without a leader.\n", len(p.Lost), p.Lost)
	}
	_, err := fmt.Fprintf(w, "%d shards have a quorum and are left alone.\n\n"+
		"Events that were acknowledged before this node received them are lost. Clients must not send until all survivors were recovered.\n", len(p.Kept))
	return err
}
