package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"parley/cluster/certs"
	"parley/cmd/parley/settings"
)

func newCerts(t *terminal) *cobra.Command {
	command := &cobra.Command{
		Use: "certs", Short: "Make the certificates by which nodes know each other",
		Long: "Make the certificates by which nodes know each other. 'init' makes an authority once; 'issue' makes what\n" +
			"one node needs: give its directory to 'parley serve --certs-dir'. Works offline.",
	}
	command.AddCommand(newCertsInit(t), newCertsIssue(t), newCertsRotate(t))
	return command
}

func newCertsInit(t *terminal) *cobra.Command {
	command := &cobra.Command{
		Use: "init DIRECTORY", Short: "Make a certificate authority and a gossip key", Args: between(1, 1, "DIRECTORY"),
		RunE: func(command *cobra.Command, args []string) error {
			name, err := command.Flags().GetString("cluster")
			if err != nil {
				return err
			}
			if err := certs.CreateAuthority(t.path(args[0]), name, t.now()); err != nil {
				return existing(err)
			}
			return tell(t, command, map[string]any{"authority": args[0]},
				fmt.Sprintf("Authority written to %s. Keep %s there: whoever has it can make nodes of this cluster.", args[0], certs.AuthorityKey))
		},
	}
	command.Flags().String("cluster", "", "a name for people, written into the certificate")
	return command
}

func newCertsIssue(t *terminal) *cobra.Command {
	command := &cobra.Command{
		Use: "issue NODE", Short: "Make the certificate of one node", Args: between(1, 1, "NODE"),
		RunE: func(command *cobra.Command, args []string) error {
			if err := settings.CheckNodeName(args[0]); err != nil {
				return usagef("NODE %s", err)
			}
			authority, err := command.Flags().GetString("authority")
			if err != nil {
				return err
			}
			out, err := command.Flags().GetString("out")
			if err != nil {
				return err
			}
			if out == "" {
				out = args[0]
			}
			if err := certs.Issue(t.path(authority), t.path(out), args[0], t.now()); err != nil {
				return existing(err)
			}
			return tell(t, command, map[string]any{"node": args[0], "directory": out},
				fmt.Sprintf("Certificate of node %s written to %s. Start it with --node-name %s --certs-dir %s", args[0], out, args[0], out))
		},
	}
	command.Flags().String("authority", "./authority", "directory made by 'parley certs init'")
	command.Flags().String("out", "", "directory for the node's files (default: the node's name)")
	return command
}

func newCertsRotate(t *terminal) *cobra.Command {
	command := &cobra.Command{
		Use: "rotate-gossip add|use|drop [DIRECTORY …]", Short: "Change the gossip key, in three steps, while the nodes run",
		Long: "Change the gossip key while the nodes run. 'add' makes a new key, 'use' encrypts with it, 'drop' forgets the old\n" +
			"one. Each step is written to the authority and to the nodes' directories that are named; copy gossip.key to\n" +
			"the others. Nodes read it within a minute, or at once on SIGHUP. Make a step only when every node has logged\n" +
			"the one before.",
		Args: between(1, 1+rotateDirectoriesMax, "add|use|drop"),
		RunE: func(command *cobra.Command, args []string) error {
			return rotateGossip(t, command, certs.Rotation(args[0]), args[1:])
		},
	}
	command.Flags().String("authority", "./authority", "directory made by 'parley certs init'")
	return command
}

// rotateDirectoriesMax bounds the directories of one command line.
const rotateDirectoriesMax = 1024

func rotateGossip(t *terminal, command *cobra.Command, step certs.Rotation, directories []string) error {
	next, known := map[certs.Rotation]string{
		certs.AddGossipKey:  "When every node knows the new key: parley certs rotate-gossip use",
		certs.UseGossipKey:  "When every node encrypts with the new key: parley certs rotate-gossip drop",
		certs.DropGossipKey: "The rotation is complete when every node has forgotten the old key.",
	}[step]
	if !known {
		return usagef("%q is no step; there are add, use and drop", step)
	}
	authority, err := command.Flags().GetString("authority")
	if err != nil {
		return err
	}
	keys, err := certs.RotateGossipKey(t.path(authority), step)
	if err != nil {
		return err
	}
	for _, d := range directories {
		if err := certs.PutGossipKeys(t.path(d), keys); err != nil {
			return fmt.Errorf("the step is made in %s, but not everywhere; copy %s to the nodes: %w", authority, certs.GossipKeyFile, err)
		}
	}
	line := fmt.Sprintf("Gossip key %s encrypts, %d known.\n%s", certs.Fingerprint(keys[0]), len(keys), next)
	return tell(t, command, map[string]any{"encrypts": certs.Fingerprint(keys[0]), "known": len(keys)}, line)
}

// existing says what to do about a file that is never overwritten.
func existing(err error) error {
	if errors.Is(err, certs.ErrExists) {
		return fmt.Errorf("%w\nNothing was changed. Name another directory, or move the old files away.", err)
	}
	return err
}

// tell prints the line, or with --json the object.
func tell(t *terminal, command *cobra.Command, object map[string]any, line string) error {
	if flagSet(command, "json") {
		return printJSON(t.out, object)
	}
	_, err := fmt.Fprintln(t.out, line)
	return err
}

// path is a file as the user named it: relative to where the command was typed.
func (t *terminal) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(t.dir, name)
}
