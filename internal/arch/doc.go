// Package arch holds the house rules as tests: which layer may import which, what must be
// documented, how large a file or a function may be, and which calls have a better replacement.
// Every message says what to do instead.
package arch
