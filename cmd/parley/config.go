package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"parley/cmd/parley/settings"
	"parley/internal/telemetry"
)

func newVersion(t *terminal) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Tell which build this is", Args: between(0, 0, "none"),
		RunE: func(command *cobra.Command, _ []string) error {
			if flagSet(command, "json") {
				return printJSON(t.out, telemetry.CurrentBuild())
			}
			_, err := fmt.Fprintln(t.out, telemetry.CurrentBuild())
			return err
		},
	}
}

func newConfig(t *terminal) *cobra.Command {
	command := &cobra.Command{Use: "config", Short: "Look at a node's configuration before starting it"}
	check := &cobra.Command{
		Use: "check", Short: "Say whether 'parley serve' would accept the configuration", Args: between(0, 0, "none"),
		RunE: func(command *cobra.Command, _ []string) error {
			loaded, err := loadSettings(t, command)
			if err != nil {
				return err
			}
			for _, name := range loaded.Unknown {
				fmt.Fprintf(t.err, "Warning: %s is not a setting and is ignored.\n", name)
			}
			if flagSet(command, "json") {
				return printJSON(t.out, map[string]any{"valid": true, "ignored": loaded.Unknown})
			}
			_, err = fmt.Fprintln(t.out, "The configuration is valid.")
			return err
		},
	}
	print := &cobra.Command{
		Use: "print", Short: "Print every setting, its value and where it comes from", Args: between(0, 0, "none"),
		RunE: func(command *cobra.Command, _ []string) error { return printSettings(t, command) },
	}
	for _, c := range []*cobra.Command{check, print} {
		settings.Flags(c.Flags())
		command.AddCommand(c)
	}
	return command
}

// loadSettings reads them; what is wrong with them is a usage error.
func loadSettings(t *terminal, command *cobra.Command) (settings.Loaded, error) {
	loaded, err := settings.Load(command.Flags(), t.environ)
	if err != nil {
		return loaded, &usageError{strings.ReplaceAll(err.Error(), "\n", "\n       ")}
	}
	return loaded, nil
}

func printSettings(t *terminal, command *cobra.Command) error {
	loaded, err := loadSettings(t, command)
	if err != nil {
		return err
	}
	rows := make([][]string, 0, len(settings.Names()))
	object := map[string]any{}
	for _, name := range settings.Names() {
		value, source := loaded.Value(name), loaded.Source(name)
		rows = append(rows, []string{name, value, string(source)})
		object[name] = map[string]string{"value": value, "source": string(source)}
	}
	if flagSet(command, "json") {
		return printJSON(t.out, object)
	}
	return printTable(t.out, []string{"setting", "value", "source"}, rows)
}
