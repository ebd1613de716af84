package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"parley/cmd/parley/client"
	"parley/edge/admin"
)

// newWebhook is what an operator does about an application's webhooks.
func newWebhook(t *terminal) *cobra.Command {
	command := &cobra.Command{Use: "webhook", Short: "Look after an application's webhooks"}
	letters := &cobra.Command{
		Use: "dead-letters", Short: "List the deliveries that were given up, oldest first",
		Args: between(0, 0, "none"),
		RunE: func(command *cobra.Command, _ []string) error { return deadLetters(t, command) },
	}
	redeliver := &cobra.Command{
		Use: "redeliver [LETTER]", Short: "Deliver dead letters again, one or all",
		Args: between(0, 1, "LETTER"),
		RunE: func(command *cobra.Command, args []string) error {
			return moveLetters(t, command, letterVerb{"redeliver", "delivered again, behind newer events", "Back on their way: "}, args)
		},
	}
	discard := &cobra.Command{
		Use: "discard [LETTER]", Short: "Drop dead letters for good, one or all",
		Args: between(0, 1, "LETTER"),
		RunE: func(command *cobra.Command, args []string) error {
			return moveLetters(t, command, letterVerb{"discard", "dropped for good", "Dropped: "}, args)
		},
	}
	secret := &cobra.Command{
		Use: "rotate-secret", Short: "Replace the secret that signs the requests to an application's webhooks",
		Long: "Replace the secret that signs the requests to an application's webhooks, and print the new one: it is not told again.\n" +
			"For a day requests are signed with the secret before it too.",
		Args: between(0, 0, "none"),
		RunE: func(command *cobra.Command, _ []string) error { return rotateSecret(t, command) },
	}
	for _, c := range []*cobra.Command{letters, redeliver, discard, secret} {
		addTargetFlags(c)
		c.Flags().String("app-id", "", "application (default: the one in ./.parley-app)")
		command.AddCommand(c)
	}
	for _, c := range []*cobra.Command{letters, redeliver, discard} {
		c.Flags().String("kind", "webhook", "webhook, or push for notifications")
	}
	for _, c := range []*cobra.Command{redeliver, discard, secret} {
		c.Flags().Bool("yes", false, "do not ask")
	}
	return command
}

// openLetters opens the operator's connection and finds the application that a command is about.
func openLetters(t *terminal, command *cobra.Command) (o *operator, application string, err error) {
	kept, err := client.ReadApplication(t.dir)
	if err != nil {
		return nil, "", err
	}
	application = kept.ID
	if f := command.Flags().Lookup("app-id"); f.Changed {
		application = f.Value.String()
	}
	if application == "" {
		return nil, "", usagef("which application? Give --app-id, or run 'parley app:create' here first")
	}
	o, err = openOperator(t, command)
	return o, application, err
}

func lettersPath(application string) string {
	return admin.Prefix + "applications/" + url.PathEscape(application) + "/dead-letters"
}

// lettersShown bounds what one command lists; the oldest are the ones that will be dropped next.
const lettersShown = 1000

func deadLetters(t *terminal, command *cobra.Command) error {
	o, application, err := openLetters(t, command)
	if err != nil {
		return err
	}
	defer o.close()
	letters, more, err := readLetters(command.Context(), o, application, command.Flag("kind").Value.String())
	if err != nil {
		return err
	}
	if flagSet(command, "json") {
		return printJSON(command.OutOrStdout(), admin.LetterPage{Letters: letters, Next: more})
	}
	rows := make([][]string, 0, len(letters))
	for _, l := range letters {
		rows = append(rows, []string{l.ID, l.Conversation, strconv.FormatUint(l.Event, 10), l.Target, l.Died.Format(time.RFC3339),
			strconv.FormatUint(uint64(l.Attempts), 10), l.Reason})
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(command.OutOrStdout(), "No dead letters.")
		return err
	}
	if more != "" {
		fmt.Fprintf(t.err, "There are more than these %d.\n", len(rows))
	}
	return printTable(command.OutOrStdout(), []string{"letter", "conversation", "event", "target", "died", "attempts", "reason"}, rows)
}

// readLetters reads page after page; more is where to go on when there are too many to show.
func readLetters(ctx context.Context, o *operator, application, kind string) (letters []admin.Letter, more string, err error) {
	for len(letters) < lettersShown {
		q := url.Values{"kind": {kind}, "after": {more}}
		page := admin.LetterPage{}
		if err := o.node.Call(ctx, o.auth, http.MethodGet, lettersPath(application)+"?"+q.Encode(), nil, &page); err != nil {
			return nil, "", err
		}
		letters, more = append(letters, page.Letters...), page.Next
		if more == "" {
			break
		}
	}
	return letters, more, nil
}

// letterVerb is one thing to do with dead letters.
type letterVerb struct{ name, ask, said string }

func moveLetters(t *terminal, command *cobra.Command, v letterVerb, args []string) error {
	o, application, err := openLetters(t, command)
	if err != nil {
		return err
	}
	defer o.close()
	body, which := map[string]string{"kind": command.Flag("kind").Value.String()}, "All dead letters"
	if len(args) > 0 {
		body["id"], which = args[0], "Dead letter "+args[0]
	}
	if err := confirm(t, command, fmt.Sprintf("%s of application %s will be %s.", which, application, v.ask)); err != nil {
		return err
	}
	var moved admin.Moved
	if err := o.node.Call(command.Context(), o.auth, http.MethodPost, lettersPath(application)+"/"+v.name, body, &moved); err != nil {
		return err
	}
	if flagSet(command, "json") {
		return printJSON(command.OutOrStdout(), moved)
	}
	_, err = fmt.Fprintf(command.OutOrStdout(), "%s%d\n", v.said, moved.Letters)
	return err
}

func rotateSecret(t *terminal, command *cobra.Command) error {
	o, application, err := openLetters(t, command)
	if err != nil {
		return err
	}
	defer o.close()
	if err := confirm(t, command, fmt.Sprintf("Requests to the webhooks of application %s will be signed with a new secret.", application)); err != nil {
		return err
	}
	var made struct {
		Secret        string `json:"secret"`
		PreviousUntil string `json:"previous_valid_until,omitempty"`
	}
	if err := o.node.Call(command.Context(), o.auth, http.MethodPost, "/v2/applications/"+url.PathEscape(application)+"/webhook-secret", nil, &made); err != nil {
		return err
	}
	if flagSet(command, "json") {
		return printJSON(command.OutOrStdout(), made)
	}
	_, err = fmt.Fprintln(command.OutOrStdout(), made.Secret)
	return err
}
