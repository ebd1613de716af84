// Package limit bounds what askers may cost: requests by token buckets, and JSON by its depth
// and number of members.
package limit
