package proto_test

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "parley/proto/client/v1"
	_ "parley/proto/event/v1"
	_ "parley/proto/node/v1"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files; say in the commit why stored bytes may change")

// TestGoldenBytes fills every field of every message with a fixed value and compares the bytes, and
// the number of every value of an enum, with those it had first: one that is renumbered or retyped
// would make old disks and older nodes unreadable. What is new only adds lines, and needs its line.
func TestGoldenBytes(t *testing.T) {
	for _, pkg := range []string{"parley.client.v1", "parley.event.v1", "parley.node.v1"} {
		t.Run(pkg, func(t *testing.T) {
			path := filepath.Join("testdata", pkg+".golden")
			now := strings.Join(describe(t, pkg), "\n") + "\n"
			if *rewrite {
				if err := os.WriteFile(path, []byte(now), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			then, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range without(string(then), now) {
				t.Errorf("changed or removed: %s", line)
			}
			for _, line := range without(now, string(then)) {
				t.Errorf("nothing holds this, run the test with -rewrite: %s", line)
			}
		})
	}
}

// without gives the lines of one text that the other does not have.
func without(text, other string) (lines []string) {
	has := map[string]bool{}
	for line := range strings.SplitSeq(other, "\n") {
		has[line] = true
	}
	for line := range strings.SplitSeq(text, "\n") {
		if !has[line] {
			lines = append(lines, line)
		}
	}
	return lines
}

// describe gives a line for each field, its full name and the bytes of a message with it alone, and
// for each value of an enum, its full name and number.
func describe(t *testing.T, pkg string) []string {
	var lines []string
	protoregistry.GlobalTypes.RangeEnums(func(et protoreflect.EnumType) bool {
		d := et.Descriptor()
		for i := 0; string(d.ParentFile().Package()) == pkg && i < d.Values().Len(); i++ {
			lines = append(lines, fmt.Sprintf("%s.%s %d", d.FullName(), d.Values().Get(i).Name(), d.Values().Get(i).Number()))
		}
		return true
	})
	protoregistry.GlobalTypes.RangeMessages(func(mt protoreflect.MessageType) bool {
		d := mt.Descriptor()
		if string(d.ParentFile().Package()) != pkg {
			return true
		}
		for i := range d.Fields().Len() {
			f := d.Fields().Get(i)
			m := mt.New()
			m.Set(f, sample(m, f))
			b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.Interface())
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, fmt.Sprintf("%s %s", f.FullName(), hex.EncodeToString(b)))
		}
		return true
	})
	sort.Strings(lines)
	return lines
}

func sample(m protoreflect.Message, f protoreflect.FieldDescriptor) protoreflect.Value {
	if f.IsList() {
		list := m.NewField(f).List()
		if f.Message() != nil {
			list.Append(list.NewElement())
		} else {
			list.Append(scalar(f))
		}
		return protoreflect.ValueOfList(list)
	}
	if f.Message() != nil {
		return m.NewField(f)
	}
	return scalar(f)
}

func scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("v")
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{7})
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(1.5)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(300)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(300)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(300)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(300)
	default:
		panic("no sample for " + f.Kind().String())
	}
}
