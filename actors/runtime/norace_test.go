//go:build !race || nodes

package runtime_test

// racing says that the race detector watches.
const racing = false
