package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"parley/cmd/parley/client"
)

// The exit codes. Scripts branch on them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitRefused     = 4
)

// terminal is all of the outside world that a command sees.
type terminal struct {
	in io.Reader // answers to questions
	// interactive says that a person is at in and can be asked.
	interactive bool
	out, err    io.Writer
	environ     []string         // as os.Environ gives it
	dir, home   string           // where the files of commands are
	now         func() time.Time // for tokens
}

// getenv gives a variable's value, or the empty string.
func (t *terminal) getenv(name string) string {
	value := ""
	for _, e := range t.environ {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			value = v // the last one wins, as in a shell
		}
	}
	return value
}

// usageError is a mistake in how the command was typed.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// run executes one command line and gives the process's exit code.
func run(ctx context.Context, t *terminal, args []string) int {
	root := newRoot(t)
	root.SetArgs(append([]string{}, args...)) // never nil, for which the library would read the process's own arguments
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	fmt.Fprintln(t.err, "Error:", err)
	if h := hint(command, err); h != "" {
		fmt.Fprintln(t.err, h)
	}
	return exitCode(err)
}

func exitCode(err error) int {
	var usage *usageError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, client.ErrUnreachable):
		return exitUnreachable
	case errors.Is(err, client.ErrRefused):
		return exitRefused
	}
	return exitFailed
}

// hint says what to do next.
func hint(command *cobra.Command, err error) string {
	switch exitCode(err) {
	case exitUsage:
		return fmt.Sprintf("See '%s --help'.", command.CommandPath())
	case exitUnreachable:
		return "Is the node running ('parley serve')? Name another with --url or PARLEY_URL."
	case exitRefused:
		return refusedHint(command)
	}
	return ""
}

// refusedHint says where the credentials of a command come from: some sign a token with an application's key,
// the others have an API key and secret.
func refusedHint(command *cobra.Command) string {
	if command.Name() == "setup" {
		return "A node prints its API key and secret at its very first start."
	}
	if command.Flags().Lookup("keyfile") != nil && command.Flags().Lookup("public-key") == nil {
		return "The application and its key are those in ./.parley-app ('parley app:create' writes it), or what --app-id and --keyfile name."
	}
	return "The API key and secret are what 'parley setup KEY SECRET' saved, PARLEY_API_KEY and PARLEY_API_SECRET, or --api-key and --api-secret."
}

func newRoot(t *terminal) *cobra.Command {
	root := &cobra.Command{
		Use:           "parley",
		Short:         "In-app conversations on your own machines",
		Long:          "Parley serves the Conversation API: conversations, users, members and one ordered event log per conversation.",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetOut(t.out)
	root.SetErr(t.err)
	root.SetGlobalNormalizationFunc(dashes)
	root.SetFlagErrorFunc(flagError)
	root.PersistentFlags().Bool("json", false, "print one JSON value instead of text")
	root.PersistentFlags().BoolP("verbose", "v", false, "print everything that the node answered")
	root.AddCommand(newServe(t), newDev(t), newSetup(t), newAppCreate(t), newTokenGenerate(t), newUserCreate(t),
		newConversationCreate(t), newMemberAdd(t), newMemberList(t), newImport(t), newCluster(t), newNode(t), newWebhook(t),
		newCerts(t), newBench(t), newHealth(t), newConfig(t), newVersion(t))
	root.SetHelpCommand(newHelp())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	strict(root)
	return root
}

// newHelp stands for the library's own help command, which takes any topic for a success.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Explain a command",
		RunE: func(command *cobra.Command, args []string) error {
			topic, rest, err := command.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("no help for %q", strings.Join(args, " "))
			}
			topic.InitDefaultHelpFlag()
			return topic.Help()
		},
	}
}

// strict makes every mistake in the arguments of command, and of all below it, a usage error.
// A command that only holds others explains itself, but not in place of one that does not exist.
func strict(command *cobra.Command) {
	for _, c := range command.Commands() {
		strict(c)
	}
	if command.HasSubCommands() && !command.Runnable() {
		command.Args = cobra.ArbitraryArgs
		command.RunE = func(command *cobra.Command, args []string) error {
			if len(args) == 0 {
				return command.Help()
			}
			return unknownCommand(command, args[0])
		}
		return
	}
	check := command.Args
	if check == nil {
		return
	}
	command.Args = func(command *cobra.Command, args []string) error {
		if err := check(command, args); err != nil {
			return &usageError{err.Error()}
		}
		return nil
	}
}

func unknownCommand(group *cobra.Command, name string) error {
	var names []string
	for _, c := range group.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return usagef("%s: unknown command %q%s", group.CommandPath(), name, didYouMean(name, names))
}

// flagError is what is wrong with a command's flags.
func flagError(command *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || unknown.GetSpecifiedShortnames() != "" {
		return usagef("%s", err)
	}
	var names []string
	command.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, "--"+f.Name)
		}
	})
	return usagef("%s%s", err, didYouMean("--"+unknown.GetSpecifiedName(), names))
}

// dashes lets the old command line's --app_id stand for --app-id.
func dashes(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
}

// between wants min to max arguments; words tells which, for the message.
func between(min, max int, words string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < min {
			return usagef("missing argument: %s", words)
		}
		if len(args) > max {
			return usagef("too many arguments (%s): %s", words, strings.Join(args[max:], " "))
		}
		return nil
	}
}

func flagSet(command *cobra.Command, name string) bool {
	on, err := command.Flags().GetBool(name)
	return err == nil && on
}
