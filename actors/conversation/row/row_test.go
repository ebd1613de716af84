package row_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"parley/actors/conversation/row"
	"parley/actors/conversation/world"
	"parley/persistence/store"
	eventv1 "parley/proto/event/v1"
)

// rows holds three names, and one row that is damaged.
func rows() world.Rows {
	rows := world.Rows{"b/damaged": []byte{0xff}}
	for _, key := range []string{"a/1", "a/2", "a/3"} {
		op := row.Put([]byte(key), &eventv1.Name{OwnerId: key})
		rows[string(op.Key)] = op.Value
	}
	return rows
}

func TestFind(t *testing.T) {
	for _, c := range []struct {
		key, owner string
		damaged    bool
	}{
		{"a/1", "a/1", false}, {"a/0", "", false}, {"b/damaged", "", true},
	} {
		found, err := row.Find[eventv1.Name](rows(), []byte(c.key))
		if found.GetOwnerId() != c.owner || (found == nil) != (c.owner == "") || (err != nil) != c.damaged {
			t.Errorf("%s: %v, %v", c.key, found, err)
		}
		if c.damaged && !strings.Contains(err.Error(), "row 622f") {
			t.Errorf("%s: %v does not say where", c.key, err)
		}
	}
}

// TestLearn: what is known stays, absence is remembered, damage is not.
func TestLearn(t *testing.T) {
	changed := &eventv1.Name{OwnerId: "changed"}
	known := map[string]*eventv1.Name{"one": changed}
	learn := func(name, key string) error { return row.Learn(known, name, rows(), []byte(key)) }
	for name, key := range map[string]string{"one": "a/1", "two": "a/2", "none": "a/0"} {
		if err := learn(name, key); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if learn("damaged", "b/damaged") == nil {
		t.Error("damage was learned")
	}
	if got := slices.Sorted(maps.Keys(known)); !slices.Equal(got, []string{"none", "one", "two"}) {
		t.Errorf("known are %v", got)
	}
	if known["one"] != changed || known["two"].GetOwnerId() != "a/2" || known["none"] != nil {
		t.Errorf("known is %v", known)
	}
}

func TestScan(t *testing.T) {
	owners := func(r store.Reader, prefix string) (got string, err error) {
		all, err := row.All[eventv1.Name](r, []byte(prefix))
		for _, n := range all {
			got += n.OwnerId + " "
		}
		return got, err
	}
	if got, err := owners(rows(), "a/"); got != "a/1 a/2 a/3 " || err != nil {
		t.Errorf("all: %q, %v", got, err)
	}
	if _, err := owners(rows(), "b/"); err == nil {
		t.Error("damage was read")
	}
	seen := 0
	err := row.Scan(rows(), []byte("a/"), []byte("b"), func(n *eventv1.Name) bool {
		seen++
		return n.OwnerId != "a/2"
	})
	if seen != 2 || err != nil {
		t.Errorf("%d rows were seen, %v", seen, err)
	}
}
