// Package webhook takes stored events to URLs outside of the cluster: the application's event_url
// and a conversation's own callback. It is the outbox's sink for them, so every event comes at
// least once and, within a conversation, in order.
//
// A line holds what one application has under way to one host: so many requests at once, the rest
// waits, and after a row of failures nothing but one probe at a time is sent. A dead or slow host
// costs its own application and nobody else.
package webhook
