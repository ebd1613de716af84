package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// printJSON writes v as one indented JSON value.
func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// report prints what a create answered: all of it as JSON, every leaf with -v, else the message.
func report(command *cobra.Command, message string, answer json.RawMessage) error {
	w := command.OutOrStdout()
	switch {
	case flagSet(command, "json"):
		return printJSON(w, answer)
	case flagSet(command, "verbose"):
		return printLeaves(w, answer)
	}
	_, err := fmt.Fprintln(w, message)
	return err
}

// printLeaves writes "[key]", the value and an empty line for every leaf, in the order of the
// answer; nested keys are dotted.
func printLeaves(w io.Writer, answer json.RawMessage) error {
	decoder := json.NewDecoder(bytes.NewReader(answer))
	decoder.UseNumber()
	return leaves(w, decoder, "")
}

func leaves(w io.Writer, decoder *json.Decoder, path string) error {
	token, err := decoder.Token()
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	delim, nested := token.(json.Delim)
	if !nested {
		_, err := fmt.Fprintf(w, "[%s]\n%v\n\n", path, token)
		return err
	}
	for i := 0; decoder.More(); i++ {
		key := strconv.Itoa(i)
		if delim == '{' {
			name, err := decoder.Token()
			if err != nil {
				return fmt.Errorf("read the answer: %w", err)
			}
			key = fmt.Sprint(name)
		}
		if err := leaves(w, decoder, dotted(path, key)); err != nil {
			return err
		}
	}
	_, err = decoder.Token() // the closing bracket
	return err
}

func dotted(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// count is a number of things: 1 shard, 2 shards.
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return strconv.Itoa(n) + " " + thing
}

// printTable writes rows with their columns aligned; heads is nil for none.
func printTable(w io.Writer, heads []string, rows [][]string) error {
	all := rows
	if heads != nil {
		all = append([][]string{heads}, rows...)
	}
	widths := make([]int, 0, 8)
	for _, row := range all {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	if heads != nil {
		dashes := make([]string, len(heads))
		for i := range heads {
			dashes[i] = strings.Repeat("-", widths[i])
		}
		all = append([][]string{heads, dashes}, rows...)
	}
	for _, row := range all {
		if _, err := fmt.Fprintln(w, line(row, widths)); err != nil {
			return err
		}
	}
	return nil
}

func line(row []string, widths []int) string {
	var b strings.Builder
	for i, cell := range row {
		if i > 0 {
			b.WriteString(" | ")
		}
		b.WriteString(cell)
		if i < len(row)-1 {
			b.WriteString(strings.Repeat(" ", widths[i]-len([]rune(cell))))
		}
	}
	return b.String()
}
