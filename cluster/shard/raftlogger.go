package shard

import (
	"fmt"
	"log/slog"

	"parley/persistence/keys"
)

// raftLogger lets the Raft library log through slog. What it calls info and warnings happens at every
// election of every group; for an operator that is detail. What it panics of is a replica that is not
// what it was, most often because its disk lost what it had said was synced.
type raftLogger struct {
	l     *slog.Logger
	shard keys.Shard
	debug bool // asked once: formatting what nobody reads is not free
}

func (r raftLogger) Debug(...any)                {}
func (r raftLogger) Debugf(string, ...any)       {}
func (r raftLogger) Info(v ...any)               { r.l.Debug(fmt.Sprint(v...), "shard", r.shard) }
func (r raftLogger) Infof(f string, v ...any)    { r.debugf(f, v...) }
func (r raftLogger) Warning(v ...any)            { r.l.Debug(fmt.Sprint(v...), "shard", r.shard) }
func (r raftLogger) Warningf(f string, v ...any) { r.debugf(f, v...) }
func (r raftLogger) Error(v ...any)              { r.l.Error(fmt.Sprint(v...), "shard", r.shard) }
func (r raftLogger) Errorf(f string, v ...any)   { r.l.Error(fmt.Sprintf(f, v...), "shard", r.shard) }
func (r raftLogger) Fatal(v ...any)              { r.Panic(v...) }
func (r raftLogger) Fatalf(f string, v ...any)   { r.Panicf(f, v...) }
func (r raftLogger) Panic(v ...any)              { panic(fmt.Sprintf("shard %d: %s", r.shard, fmt.Sprint(v...))) }
func (r raftLogger) Panicf(f string, v ...any) {
	panic(fmt.Sprintf("shard %d: "+f, append([]any{r.shard}, v...)...))
}

func (r raftLogger) debugf(f string, v ...any) {
	if r.debug {
		r.l.Debug(fmt.Sprintf(f, v...), "shard", r.shard)
	}
}
