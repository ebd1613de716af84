package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"parley/cmd/parley/client"
)

// claimNames are the old command line's other words for claims.
var claimNames = map[string]string{"subject": "sub", "expiry": "exp", "app_id": "application_id"}

func newTokenGenerate(t *terminal) *cobra.Command {
	command := &cobra.Command{
		Use: "jwt:generate [KEYFILE] [application_id=…] [sub=USER] [acl=JSON] [exp=SECONDS]", Aliases: []string{"jwt"},
		Short: "Sign a token with an application's private key; needs no node",
		Long: "Sign a token (RS256) and print it. Without sub it is an administrator's token, which may do everything in the\n" +
			"application; a user's token (sub=NAME) needs an acl. Without exp a node accepts it for 15 minutes.",
		Example: `  parley jwt:generate ./private.key application_id=… sub=alice exp=$(($(date +%s)+86400)) acl='{"paths":{"/*/users/**":{},"/*/conversations/**":{},"/*/sessions/**":{}}}'`,
		Args:    between(0, argsMax, "[KEYFILE] key=value …"),
		RunE:    func(command *cobra.Command, args []string) error { return generateToken(t, command, args) },
	}
	addApplicationFlags(command)
	return command
}

func generateToken(t *terminal, command *cobra.Command, args []string) error {
	keyFile := ""
	if len(args) > 0 && !strings.Contains(args[0], "=") {
		keyFile, args = args[0], args[1:]
	}
	claims, err := parseClaims(args)
	if err != nil {
		return err
	}
	application, err := readApplication(t, command)
	if err != nil {
		return err
	}
	if keyFile != "" {
		if application.PrivateKey, err = readKey(t, keyFile); err != nil {
			return err
		}
	}
	if claims["application_id"] == nil {
		claims["application_id"] = application.ID
	}
	if claims["application_id"] == "" {
		return usagef("which application? Give application_id=… or --app-id, or run 'parley app:create' here first")
	}
	if application.PrivateKey == "" {
		return usagef("which private key? Name its file, or run 'parley app:create' here first")
	}
	key, err := client.ParseKey(application.PrivateKey)
	if err != nil {
		return err
	}
	token, err := client.Sign(key, t.now(), claims)
	if err != nil {
		return err
	}
	if claims["sub"] != nil && claims["acl"] == nil {
		fmt.Fprintln(t.err, "Note: a user's token without acl is refused; add acl='{\"paths\":{…}}'.")
	}
	if flagSet(command, "json") {
		return printJSON(command.OutOrStdout(), map[string]string{"token": token})
	}
	_, err = fmt.Fprintln(command.OutOrStdout(), token)
	return err
}

func parseClaims(args []string) (map[string]any, error) {
	claims := map[string]any{}
	for _, arg := range args {
		name, text, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, usagef("%q: must be key=value", arg)
		}
		if other, ok := claimNames[name]; ok {
			name = other
		}
		value, err := client.ParseClaim(name, text)
		if err != nil {
			return nil, &usageError{err.Error()}
		}
		claims[name] = value
	}
	return claims, nil
}
