package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"parley/persistence/store"
	"parley/test/bench/meter"
)

// rest measures a cluster that nobody uses, once every replica has fallen idle, and before it as
// many stores without one: what the cluster costs beyond them is its own.
func (b *bench) rest() (r report, err error) {
	if r.StoresPercent, err = b.restOfStores(); err != nil {
		return report{}, err
	}
	c, err := openCluster(filepath.Join(b.Dir, "idle"), b.nodes, b.shards)
	if err != nil {
		return report{}, err
	}
	r.IdlePercent, err = b.restOf(c)
	fmt.Fprintf(b.Out, "%d nodes, %d shards, idle: %.2f %% of one processor; %d stores alone %.2f %%\n",
		b.nodes, b.shards, r.IdlePercent, b.nodes, r.StoresPercent)
	return r, errors.Join(err, c.close())
}

// restOfStores is the CPU of open stores in percent of one processor.
func (b *bench) restOfStores() (percent float64, err error) {
	var stores []*store.Store
	for i := range b.nodes {
		s, err := store.Open(filepath.Join(b.Dir, "stores", nodeName(i)), store.DefaultOptions())
		if err != nil {
			return 0, err
		}
		stores = append(stores, s)
	}
	percent = b.percent()
	for _, s := range stores {
		err = errors.Join(err, s.Close())
	}
	return percent, err
}

// restOf is the CPU of all nodes in percent of one processor, after every replica has fallen idle.
func (b *bench) restOf(c *cluster) (percent float64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), growWithin)
	defer cancel()
	awake := 0
	if err := until(ctx, "all replicas are idle", func() bool {
		awake, err = c.awake()
		return err != nil || awake == 0
	}); err != nil {
		return 0, err
	}
	if err := profiled(b.profile, func() error { percent = b.percent(); return nil }); err != nil {
		return 0, err
	}
	if awake, err = c.awake(); awake > 0 {
		err = fmt.Errorf("%d replicas did not stay idle", awake)
	}
	return percent, err
}

// percent is what this process uses of one processor while it does nothing.
func (b *bench) percent() float64 {
	began, before := time.Now(), meter.Self()
	<-time.NewTimer(b.idle).C
	return 100 * float64(meter.Self()-before) / float64(time.Since(began))
}
