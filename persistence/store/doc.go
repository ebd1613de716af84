// Package store is one node's disk: two Pebbles, `log` with a synced WAL and `state` without one.
package store
