package client

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestNewRefusesWhatIsNoURL(t *testing.T) {
	for _, bad := range []string{"", "localhost:4280", "ftp://x", "http://", "::"} {
		if _, err := New(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	c, err := New("http://h:1/base/")
	if err != nil || c.URL("/v1/users") != "http://h:1/base/v1/users" {
		t.Errorf("got %v, %v", c, err)
	}
}

func TestCallSpeaksJSON(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, pass, _ := r.BasicAuth()
		if user != "k" || pass != "s" || r.Header.Get("Content-Type") != "application/json" || r.URL.Path != "/v2/applications" {
			t.Errorf("request: %v %v", r.URL, r.Header)
		}
		w.WriteHeader(http.StatusCreated)
		w.Write([]byte(`{"id":"a1"}`))
	}))
	defer s.Close()
	c, err := New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var out struct{ ID string }
	err = c.Call(context.Background(), Basic("k", "s"), http.MethodPost, "/v2/applications", map[string]string{"name": "x"}, &out)
	if err != nil || out.ID != "a1" {
		t.Errorf("got %+v, %v", out, err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		name    string
		status  int
		body    string
		refused bool
		want    []string
	}{
		{"v1", 404, `{"title":"Not found","code":"conversation:error:not-found","detail":"No such conversation."}`, false, []string{"No such conversation.", "conversation:error:not-found"}},
		{"v1 validation", 400, `{"code":"http:error:validation-fail","detail":"Bad input.","invalid_parameters":[{"name":"page_size","reason":"must be a number"}]}`, false, []string{"page_size: must be a number"}},
		{"beta", 400, `{"code":"user:error:duplicate-name","description":"Taken.","validation":{"name":["is taken"]}}`, false, []string{"Taken.", "name: is taken"}},
		{"token", 401, `{"code":"system:error:expired-token","detail":"Token expired."}`, true, []string{"Token expired."}},
		{"acl", 403, `{"code":"system:error:permission","detail":"acl does not cover /v1/users"}`, true, []string{"/v1/users"}},
		{"no body", 502, ``, false, []string{"Bad Gateway"}},
		{"not json", 500, `<html>`, false, []string{"Internal Server Error"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(c.status)
				w.Write([]byte(c.body))
			}))
			defer s.Close()
			node, err := New(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer node.Close()
			err = node.Call(context.Background(), "", http.MethodGet, "/x", nil, nil)
			if err == nil || errors.Is(err, ErrRefused) != c.refused || errors.Is(err, ErrUnreachable) {
				t.Fatalf("got %v; refused must be %t", err, c.refused)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	const nobody = "127.0.0.1:1"
	c, err := New("http://" + nobody)
	if err != nil {
		t.Fatal(err)
	}
	err = c.Call(context.Background(), "", http.MethodGet, "/", nil, nil)
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), nobody) {
		t.Errorf("got %v", err)
	}
}

func TestAnswerThatIsNotOurs(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("<html>")) }))
	defer s.Close()
	c, err := New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var out struct{}
	if err := c.Call(context.Background(), "", http.MethodGet, "/", nil, &out); err == nil || !strings.Contains(err.Error(), "not what a Parley node sends") {
		t.Errorf("got %v", err)
	}
}
