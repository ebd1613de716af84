package code

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
)

func TestEveryCodeHasAStatusOfItsOwnKind(t *testing.T) {
	for c, s := range statuses {
		if s < 400 || s > 599 {
			t.Errorf("%s has status %d", c, s)
		}
	}
	if got := New("no:such:code", "").HTTPStatus(); got != http.StatusInternalServerError {
		t.Errorf("an unlisted code has status %d", got)
	}
}

func TestErrorsAreFoundByCodeThroughWraps(t *testing.T) {
	err := fmt.Errorf("load: %w", New(UserNotFound, "no user %q", "ann"))
	if !Has(err, UserNotFound) || Has(err, NotFound) || Has(errors.New("x"), UserNotFound) {
		t.Error("Has does not go by code")
	}
	if !errors.Is(err, New(UserNotFound, "other words")) || errors.Is(err, New(NotFound, "")) {
		t.Error("errors.Is does not go by code")
	}
	if e, ok := Of(err); !ok || e.Message != `no user "ann"` {
		t.Errorf("Of gives %v, %v", e, ok)
	}
}

func TestInvalidNamesTheField(t *testing.T) {
	e := Invalid("page_size", "must be a number")
	if e.Code != ValidationFail || len(e.Fields) != 1 || e.Fields[0] != (Field{"page_size", "must be a number"}) {
		t.Errorf("got %+v", e)
	}
}
