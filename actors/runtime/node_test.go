package runtime_test

import (
	"errors"
	"testing"
	"time"

	"parley/actors/runtime"
	"parley/cluster/shard"
	"parley/proto/code"
)

// TestRefusalsKeepWhatTheySay: what one node refuses another tells as it was: the code, which fields, and
// when to come back. What has no code may pass later.
func TestRefusalsKeepWhatTheySay(t *testing.T) {
	for _, want := range []*code.Error{
		{Code: code.Unavailable, Message: "busy", RetryAfter: 3 * time.Second},
		{Code: code.NotStored, Message: "the disks are full", RetryAfter: time.Second},
		{Code: code.ValidationFail, Message: "Input validation failure.", Fields: []code.Field{{Name: "user", Reason: "must be an id"}}},
	} {
		got, ok := code.Of(runtime.Carried(want))
		if !ok || got.Code != want.Code || got.Message != want.Message || got.RetryAfter != want.RetryAfter {
			t.Errorf("%+v is told as %+v", want, got)
			continue
		}
		if len(got.Fields) != len(want.Fields) || len(got.Fields) > 0 && got.Fields[0] != want.Fields[0] {
			t.Errorf("the fields %v are told as %v", want.Fields, got.Fields)
		}
	}
	if err := runtime.Carried(errors.Join(errors.New("look"), shard.ErrNoReplica)); !code.Has(err, code.Unavailable) {
		t.Errorf("an error without a code is told as %v", err)
	}
	if err := runtime.Carried(nil); err != nil {
		t.Errorf("nothing is told as %v", err)
	}
}
