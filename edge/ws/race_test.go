//go:build race && !nodes

package ws_test

// racing says that the race detector watches.
const racing = true
