package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"parley/actors/system"
	nodev1 "parley/proto/node/v1"
	"parley/test/bench/meter"
)

// calls is how grains were called one way.
type calls struct {
	P50Micros    float64 `json:"p50_us"` // of one caller, one call after the other
	P99Micros    float64 `json:"p99_us"`
	PerCPUSecond float64 `json:"per_cpu_second"` // of many callers at once
}

// callees is how many grains are called in turn, all of them alive.
const callees = 256

// calls measures calls of bare grains and of conversations, here and there.
func (b *bench) calls(dir string) (map[string]calls, error) {
	s, err := openStage(dir, passivation{after: time.Hour, tick: time.Second})
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := b.found(s, callees); err != nil {
		return nil, err
	}
	measured := map[string]calls{}
	for _, way := range []struct {
		name   string
		caller *system.Caller
		make   func(int) *nodev1.GrainRequest
	}{
		{"bare here", s.here.Caller(), bareCall}, {"bare there", s.there.Caller(), bareCall},
		{"conversation here", s.here.Caller(), typing}, {"conversation there", s.there.Caller(), typing},
	} {
		c, err := b.way(way.caller, way.make)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", way.name, err)
		}
		measured[way.name] = c
		fmt.Fprintf(b.Out, "%-20s p50 %7.1f µs  p99 %8.1f µs  %8.0f calls per CPU second\n", way.name, c.P50Micros, c.P99Micros, c.PerCPUSecond)
	}
	return measured, nil
}

// way measures one caller's time, and many callers' cost.
func (b *bench) way(caller *system.Caller, request func(int) *nodev1.GrainRequest) (c calls, err error) {
	for i := range callees { // all grains are alive, and connections stand
		if _, err := caller.Ask(bounded(), request(i)); err != nil {
			return c, err
		}
	}
	var took []time.Duration
	for began, i := time.Now(), 0; time.Since(began) < b.duration; i++ {
		at := time.Now()
		if _, err := caller.Ask(bounded(), request(i%callees)); err != nil {
			return c, err
		}
		took = append(took, time.Since(at))
	}
	slices.Sort(took)
	c.P50Micros, c.P99Micros = micros(meter.Quantile(took, 0.5)), micros(meter.Quantile(took, 0.99))
	before := meter.Self()
	made, err := b.crowd(caller, request)
	c.PerCPUSecond = float64(made) / (meter.Self() - before).Seconds()
	return c, err
}

// crowd calls from many goroutines for a while, and says how often.
func (b *bench) crowd(caller *system.Caller, request func(int) *nodev1.GrainRequest) (made int, err error) {
	counts := make([]int, b.callers)
	var g errgroup.Group
	began := time.Now()
	for n := range counts {
		g.Go(func() error {
			for i := n; time.Since(began) < b.duration; i++ {
				if _, err := caller.Ask(bounded(), request(i%callees)); err != nil {
					return err
				}
				counts[n]++
			}
			return nil
		})
	}
	err = g.Wait()
	for _, n := range counts {
		made += n
	}
	return made, err
}

// bounded is the context of a call: the caller's own timeout bounds it.
func bounded() context.Context { return context.Background() }

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
