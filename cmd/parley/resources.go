package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

const argsMax = 64 // key=value arguments of one command

func newUserCreate(t *terminal) *cobra.Command {
	return newCreate(t, creation{
		use: "user:create [name=NAME] [display_name=…] [image_url=…]", alias: "uc", short: "Create a user",
		path: "/beta/users", said: "User created: ", parameters: []string{"name", "display_name", "image_url", "properties.custom_data", "channels"},
	})
}

func newConversationCreate(t *terminal) *cobra.Command {
	return newCreate(t, creation{
		use: "conversation:create [name=NAME] [display_name=…]", alias: "cc", short: "Create a conversation",
		path: "/beta/conversations", said: "Conversation created: ",
		parameters: []string{
			"name", "display_name", "image_url", "numbers", "properties.ttl", "properties.type", "properties.custom_sort_key", "properties.custom_data",
			"callback.url", "callback.event_mask", "callback.method", "callback.params",
		},
	})
}

// creation is what distinguishes the commands that create something from key=value arguments.
type creation struct {
	use, alias, short, path, said string
	parameters                    []string // see parsePairs
}

func newCreate(t *terminal, c creation) *cobra.Command {
	command := &cobra.Command{
		Use: c.use, Aliases: []string{c.alias}, Short: c.short,
		Args: between(0, argsMax, "key=value …"),
		RunE: func(command *cobra.Command, args []string) error {
			body, err := parsePairs(args, c.parameters)
			if err != nil {
				return err
			}
			answer, err := callAsAdministrator(t, command, http.MethodPost, c.path, body)
			if err != nil {
				return err
			}
			return report(command, c.said+field(answer, "id"), answer)
		},
	}
	addTargetFlags(command)
	addApplicationFlags(command)
	return command
}

// memberParameters are what a membership may be given.
func memberParameters() []string {
	return []string{"action", "user_id", "user_name", "member_id", "channel", "media", "knocking_id", "member_id_inviting"}
}

func newMemberAdd(t *terminal) *cobra.Command {
	command := &cobra.Command{
		Use: "member:add CONVERSATION user_id=USR-… [action=join|invite] [channel='{\"type\":\"app\"}']", Aliases: []string{"ma"},
		Short: "Add a user to a conversation",
		Args:  between(2, argsMax, "CONVERSATION user_id=USR-…"),
		RunE: func(command *cobra.Command, args []string) error {
			body, err := parsePairs(args[1:], memberParameters())
			if err != nil {
				return err
			}
			if body["action"] == nil {
				body["action"] = "join"
			}
			if body["channel"] == nil {
				body["channel"] = map[string]string{"type": "app"}
			}
			answer, err := callAsAdministrator(t, command, http.MethodPost, membersPath(args[0]), body)
			if err != nil {
				return err
			}
			return report(command, "Member added: "+field(answer, "id"), answer)
		},
	}
	addTargetFlags(command)
	addApplicationFlags(command)
	return command
}

func newMemberList(t *terminal) *cobra.Command {
	command := &cobra.Command{
		Use: "member:list CONVERSATION", Aliases: []string{"ml"}, Short: "List the members of a conversation",
		Args: between(1, 1, "CONVERSATION"),
		RunE: func(command *cobra.Command, args []string) error {
			answer, err := callAsAdministrator(t, command, http.MethodGet, membersPath(args[0]), nil)
			if err != nil {
				return err
			}
			return printMembers(command, answer)
		},
	}
	addTargetFlags(command)
	addApplicationFlags(command)
	return command
}

func membersPath(conversation string) string {
	return "/beta/conversations/" + url.PathEscape(conversation) + "/members"
}

func printMembers(command *cobra.Command, answer json.RawMessage) error {
	w := command.OutOrStdout()
	if flagSet(command, "json") {
		return printJSON(w, answer)
	}
	var members []struct {
		Name, State string
		UserID      string `json:"user_id"`
		UserName    string `json:"user_name"`
	}
	if err := json.Unmarshal(answer, &members); err != nil {
		return fmt.Errorf("read the list of members: %w", err)
	}
	if len(members) == 0 {
		_, err := fmt.Fprintln(w, "No members")
		return err
	}
	rows := make([][]string, len(members))
	for i, m := range members {
		rows[i] = []string{m.Name, m.UserID, m.UserName, m.State}
	}
	var heads []string
	if flagSet(command, "verbose") {
		heads = []string{"name", "user_id", "user_name", "state"}
	}
	return printTable(w, heads, rows)
}
