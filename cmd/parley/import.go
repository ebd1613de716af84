package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"parley/cmd/parley/export"
)

// importOptions are the flags of 'parley import'.
type importOptions struct {
	dryRun   bool
	journal  string
	rate     float64
	parallel int
}

func newImport(t *terminal) *cobra.Command {
	var o importOptions
	command := &cobra.Command{
		Use: "import FILE|FOLDER …", Short: "Import users, conversations and their history",
		Long: `Imports what was saved of a hosted Conversation API: its answers (.json), or the simple form (.jsonl) that
docs/migrate.md describes. Ids, order and times are kept. Stop it at any time and run it again: it goes on
where it was, and what is there already is left alone.`,
		Args: between(1, argsMax, "FILE|FOLDER …"),
		RunE: func(command *cobra.Command, args []string) error { return runImport(t, command, &o, args) },
	}
	addTargetFlags(command)
	addApplicationFlags(command)
	command.Flags().BoolVar(&o.dryRun, "dry-run", false, "read and check everything, and send nothing")
	command.Flags().StringVar(&o.journal, "journal", "parley-import.journal", "file that remembers what is done")
	command.Flags().Float64Var(&o.rate, "rate", 200, "requests a second, at most")
	command.Flags().IntVar(&o.parallel, "parallel", 4, "conversations under way at once, 1 to 32")
	return command
}

// importReport is what an import, or the look before it, has to say.
type importReport struct {
	DryRun   bool             `json:"dry_run"`
	Found    export.Counts    `json:"found"`
	Imported export.Counts    `json:"imported"`           // by this run
	Done     int              `json:"done"`               // users and conversations that earlier runs had done
	Warnings int              `json:"warnings"`           // all, also those that are not listed
	Errors   int              `json:"errors"`             // likewise
	Problems []export.Problem `json:"problems,omitempty"` // the first ones
}

func runImport(t *terminal, command *cobra.Command, o *importOptions, args []string) error {
	if !(o.rate > 0) || o.parallel < 1 || o.parallel > 32 {
		return usagef("--rate must be positive and --parallel from 1 to 32")
	}
	paths := make([]string, len(args))
	for i, a := range args {
		paths[i] = t.path(a)
	}
	x, err := export.Read(paths...)
	var missing *fs.PathError
	if errors.As(err, &missing) && errors.Is(err, fs.ErrNotExist) {
		return usagef("%s: there is no such file or folder", missing.Path)
	}
	if err != nil {
		return err
	}
	r := &importReport{DryRun: o.dryRun, Found: x.Count(), Warnings: x.Warnings, Errors: x.Fatal, Problems: x.Problems}
	switch {
	case x.Fatal > 0:
		err = fmt.Errorf("nothing was imported: %s in the export", count(x.Fatal, "error"))
	case !o.dryRun:
		err = importAll(t, command, o, x, r)
	}
	if told := r.tell(t, command); err == nil {
		err = told
	}
	return err
}

// importAll sends everything: the users first, then conversation after conversation, several at once.
func importAll(t *terminal, command *cobra.Command, o *importOptions, x *export.Export, r *importReport) error {
	g, err := openTarget(t, command)
	if err != nil {
		return err
	}
	defer g.node.Close()
	application, err := readApplication(t, command)
	if err != nil {
		return err
	}
	if err := complete(application); err != nil {
		return err
	}
	done, err := openJournal(t.path(o.journal), journalHead{Application: application.ID, Digest: x.Digest})
	if err != nil {
		return err
	}
	s := &importer{
		node: g.node, application: application, now: t.now, limit: rate.NewLimiter(rate.Limit(o.rate), 1),
		journal: done, progress: newProgress(t, r.Found),
	}
	err = s.all(command.Context(), o.parallel, x)
	s.progress.end()
	err = errors.Join(err, done.close())
	r.Imported, r.Done = s.progress.counts(), done.before
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("stopped")
	}
	return fmt.Errorf("%w; run the same command again to go on (%s remembers what is done)", err, filepath.Base(o.journal))
}

func (s *importer) all(ctx context.Context, parallel int, x *export.Export) error {
	users, within := errgroup.WithContext(ctx)
	users.SetLimit(parallel)
	for _, u := range x.Users {
		users.Go(func() error { return s.user(within, u) })
	}
	if err := users.Wait(); err != nil {
		return err
	}
	conversations, within := errgroup.WithContext(ctx)
	conversations.SetLimit(parallel)
	for _, c := range x.Conversations {
		conversations.Go(func() error { return s.conversation(within, c) })
	}
	return conversations.Wait()
}

// tell prints the problems and the numbers.
func (r *importReport) tell(t *terminal, command *cobra.Command) error {
	if flagSet(command, "json") {
		return printJSON(command.OutOrStdout(), r)
	}
	for _, p := range r.Problems {
		fmt.Fprintln(t.err, p)
	}
	if unlisted := r.Warnings + r.Errors - len(r.Problems); unlisted > 0 {
		fmt.Fprintf(t.err, "… and %d more\n", unlisted)
	}
	verb, n := "Imported", r.Imported
	if r.DryRun || r.Errors > 0 {
		verb, n = "Found", r.Found
	}
	_, err := fmt.Fprintf(command.OutOrStdout(), "%s: %s, %s, %s, %s (%s, %s)\n", verb, count(n.Users, "user"), count(n.Conversations, "conversation"),
		count(n.Members, "member"), count(n.Events, "event"), count(r.Warnings, "warning"), count(r.Errors, "error"))
	if err == nil && r.Done > 0 {
		_, err = fmt.Fprintf(command.OutOrStdout(), "Done before: %d users and conversations\n", r.Done)
	}
	return err
}
