package meter

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
)

// Program is what a measuring program that opens stores begins and ends with: a directory for them, and a report.
type Program struct {
	Dir  string    // for the stores
	Out  io.Writer // what people read
	json bool
}

// Run parses the command line, which is the program's own flags and those of p, measures, and prints the report as
// JSON where that is asked for. It ends the process when that fails.
func Run[R any](p *Program, measure func() (R, error)) {
	flag.StringVar(&p.Dir, "dir", "", "directory for the stores (default: a temporary one)")
	flag.BoolVar(&p.json, "json", false, "print the result as JSON, and all else to standard error")
	flag.Parse()
	if err := run(p, measure, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", flag.CommandLine.Name(), err)
		os.Exit(1)
	}
}

func run[R any](p *Program, measure func() (R, error), out io.Writer) error {
	p.Out = out
	if p.json {
		p.Out = os.Stderr
	}
	if p.Dir == "" {
		temporary, err := os.MkdirTemp("", "parley-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temporary)
		p.Dir = temporary
	}
	report, err := measure()
	if err != nil || !p.json {
		return err
	}
	return json.NewEncoder(out).Encode(report)
}
