package rest

import "testing"

func TestTableMakesARouterAndADescription(t *testing.T) {
	h := &Handler{}
	table := h.table()
	if _, err := newRouter(table); err != nil {
		t.Error(err)
	}
	spec, err := describe(table)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(len(spec))
}
