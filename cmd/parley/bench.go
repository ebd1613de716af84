package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"parley/cmd/parley/client"
	"parley/internal/load"
)

// The largest load that one process may ask for; more needs several machines anyway.
const (
	benchClientsMax = 100_000
	benchRateMax    = 1_000_000
)

// benchPlan is what `parley bench` does.
type benchPlan struct {
	shape load.Shape
	rate  float64 // messages a second; 0 = look for the highest that the server keeps
	lasts time.Duration
}

func newBench(t *terminal) *cobra.Command {
	var p benchPlan
	command := &cobra.Command{
		Use: "bench", Short: "Load a running node with real clients",
		Long: "Connect real WebSocket clients to a running node, send at a fixed rate whether or not the server keeps up (open loop),\n" +
			"and print percentiles from the moment at which each message was due. Works in an application of its own, which is\n" +
			"deleted at the end. With --rate 0 it looks for the highest rate at which 99 % arrive within a second.",
		Args: between(0, 0, "none"),
		RunE: func(command *cobra.Command, _ []string) error {
			if err := p.validate(); err != nil {
				return err
			}
			return bench(t, command, p)
		},
	}
	addTargetFlags(command)
	command.Flags().IntVar(&p.shape.Rooms, "rooms", 100, "conversations")
	command.Flags().IntVar(&p.shape.Members, "members", 5, "members of each, all connected")
	command.Flags().IntVar(&p.shape.Senders, "senders", 0, "of the members, how many send; 0 = all")
	command.Flags().Float64Var(&p.rate, "rate", 200, "messages a second over all conversations; 0 = the highest that is kept")
	command.Flags().DurationVar(&p.lasts, "duration", 10*time.Second, "of sending, at each rate")
	return command
}

func (p *benchPlan) validate() error {
	if p.shape.Senders == 0 {
		p.shape.Senders = p.shape.Members
	}
	switch {
	case p.shape.Rooms < 1 || p.shape.Members < 1 || p.shape.Rooms*p.shape.Members > benchClientsMax:
		return usagef("--rooms times --members must be 1 to %d", benchClientsMax)
	case p.shape.Senders < 0 || p.shape.Senders > p.shape.Members:
		return usagef("--senders must be 1 to the number of --members")
	case !(p.rate >= 0 && p.rate <= benchRateMax):
		return usagef("--rate must be 0 to %d", benchRateMax)
	case p.lasts < time.Second || p.lasts > time.Hour:
		return usagef("--duration must be 1s to 1h")
	}
	return nil
}

func bench(t *terminal, command *cobra.Command, p benchPlan) (err error) {
	g, err := openTarget(t, command)
	if err != nil {
		return err
	}
	defer g.node.Close()
	operator, err := g.asOperator()
	if err != nil {
		return err
	}
	ctx := command.Context()
	target, err := benchApplication(ctx, g, operator)
	if err != nil {
		return err
	}
	defer func() {
		// Also after Ctrl-C, which has ended ctx.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, g.node.Call(clean, operator, http.MethodDelete, "/v2/applications/"+target.Application, nil, nil))
	}()
	fleet, err := load.Connect(ctx, target, p.shape, t.err)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fleet.Close()) }()
	fmt.Fprintf(t.err, "%d clients in %d conversations are connected\n", p.shape.Rooms*p.shape.Members, p.shape.Rooms)
	report, err := measure(ctx, t, fleet, p)
	if err != nil {
		return err
	}
	if flagSet(command, "json") {
		return printJSON(command.OutOrStdout(), benchResult(p, report))
	}
	_, err = fmt.Fprintln(command.OutOrStdout(), report)
	return err
}

func measure(ctx context.Context, t *terminal, fleet *load.Fleet, p benchPlan) (load.Report, error) {
	if p.rate > 0 {
		fmt.Fprintf(t.err, "sending %.0f messages a second for %s\n", p.rate, p.lasts)
		return runShown(ctx, t, fleet, p)
	}
	best, err := fleet.Climb(ctx, 100, benchRateMax, p.lasts, func(r load.Report) { fmt.Fprintln(t.err, r) })
	if err == nil && best.Rate == 0 {
		err = errors.New("the server did not keep up with the lowest rate, 100 messages a second")
	}
	return best, err
}

// runShown runs at one rate and prints a line a second meanwhile.
func runShown(ctx context.Context, t *terminal, fleet *load.Fleet, p benchPlan) (report load.Report, err error) {
	running, done := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for second := 1; ; second++ {
			select {
			case <-running.Done():
				return nil
			case <-ticker.C:
				c := fleet.Counts()
				fmt.Fprintf(t.err, "%4ds: sent %d, acked %d, refused %d, delivered %d, connections lost %d\n",
					second, c.Sent, c.Acked, c.Refused, c.Delivered, c.Lost)
			}
		}
	})
	report, err = fleet.Run(ctx, p.rate, p.lasts)
	done()
	return report, errors.Join(err, g.Wait())
}

func benchApplication(ctx context.Context, g *target, operator client.Authorization) (*load.Parley, error) {
	answer, err := call(ctx, g, operator, http.MethodPost, "/v2/applications", map[string]string{"name": "parley bench"})
	if err != nil {
		return nil, err
	}
	var made struct {
		ID   string
		Keys struct {
			Private string `json:"private_key"`
		}
	}
	if err := json.Unmarshal(answer, &made); err != nil {
		return nil, fmt.Errorf("read the application: %w", err)
	}
	key, err := client.ParseKey(made.Keys.Private)
	if err != nil {
		return nil, err
	}
	return &load.Parley{URL: g.node.URL(""), Application: made.ID, Key: key, HTTP: &http.Client{Timeout: time.Minute}}, nil
}

func benchResult(p benchPlan, r load.Report) map[string]any {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return map[string]any{
		"rooms": p.shape.Rooms, "members": p.shape.Members, "senders": p.shape.Senders, "rate": r.Rate, "elapsed_ms": ms(r.Elapsed),
		"sent": r.Sent, "acked": r.Acked, "refused": r.Refused, "delivered": r.Delivered, "expected": r.Expected, "connections_lost": r.Lost,
		"ack_p50_ms": ms(r.AckP50), "ack_p99_ms": ms(r.AckP99), "delivery_p50_ms": ms(r.P50), "delivery_p99_ms": ms(r.P99), "kept": r.Kept(),
	}
}
