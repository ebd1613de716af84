package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestPrintLeavesKeepsTheOrder(t *testing.T) {
	var b strings.Builder
	answer := `{"id":"CON-1","timestamp":{"created":"2026-01-01T00:00:00.000Z"},"n":12345678901234567890,"list":[{"a":true},null],"empty":{}}`
	if err := printLeaves(&b, json.RawMessage(answer)); err != nil {
		t.Fatal(err)
	}
	want := "[id]\nCON-1\n\n[timestamp.created]\n2026-01-01T00:00:00.000Z\n\n[n]\n12345678901234567890\n\n[list.0.a]\ntrue\n\n[list.1]\n<nil>\n\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	if err := printLeaves(&b, json.RawMessage(`{"broken"`)); err == nil {
		t.Error("a broken answer was printed without an error")
	}
}

func TestPrintTable(t *testing.T) {
	var b strings.Builder
	if err := printTable(&b, []string{"name", "state"}, [][]string{{"MEM-12", "JOINED"}, {"é", "x"}}); err != nil {
		t.Fatal(err)
	}
	want := "name   | state\n------ | ------\nMEM-12 | JOINED\né      | x\n"
	if b.String() != want {
		t.Errorf("got\n%q, want\n%q", b.String(), want)
	}
}

func TestParsePairs(t *testing.T) {
	got, err := parsePairs([]string{"name=a=b", `channel={"type":"app"}`, "properties.ttl=60", "properties.custom_data.x=1", "list=[1,2]", "empty="},
		[]string{"name", "channel", "properties.ttl", "properties.custom_data", "list", "empty"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"channel":{"type":"app"},"empty":"","list":[1,2],"name":"a=b","properties":{"custom_data":{"x":"1"},"ttl":"60"}}`
	if string(text) != want {
		t.Errorf("got %s, want %s", text, want)
	}
}
