//go:build integration

package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The size of the history that is imported.
const (
	importedConversations = 200
	importedPeople        = 5   // of a conversation
	importedEvents        = 500 // of a conversation: 1e5 in all
	importedUsers         = 100
)

// importMemoryMax bounds what an importer may hold: it reads one history at a time for each conversation
// under way, whatever the size of the export.
const importMemoryMax = 256 << 20

func userAt(n int) string { return fmt.Sprintf("USR-00000000-0000-4000-8000-%012d", n) }

func conversationAt(n int) string { return fmt.Sprintf("CON-00000000-0000-4000-8000-%012d", n) }

func memberAt(conversation, n int) string {
	return fmt.Sprintf("MEM-00000000-0000-4000-8000-%06d%06d", conversation, n)
}

func momentAt(conversation, event int) string {
	return time.Unix(1_500_000_000+int64(conversation), int64(event)*1e6).UTC().Format("2006-01-02T15:04:05.000Z")
}

// importedEvent is an event as an export has it and as a node shows it.
type importedEvent struct {
	ID        int             `json:"id"`
	Type      string          `json:"type"`
	From      string          `json:"from"`
	Timestamp string          `json:"timestamp"`
	Body      json.RawMessage `json:"body"`
	Deleted   string          `json:"deleted,omitempty"`
	State     struct {
		SeenBy map[string]string `json:"seen_by,omitempty"`
	} `json:"state"`
}

// eventAt is the event of a number: the joinings first, then texts, of which some were seen and some deleted.
func eventAt(conversation, number int) importedEvent {
	e := importedEvent{ID: number, Type: "text", From: memberAt(conversation, number%importedPeople), Timestamp: momentAt(conversation, number)}
	switch {
	case number <= importedPeople:
		e.Type = "member:joined"
		e.Body = json.RawMessage(fmt.Sprintf(`{"user":{"id":"%s"}}`, userAt((conversation+number%importedPeople)%importedUsers)))
	case number%50 == 0:
		e.Deleted = e.Timestamp
	default:
		e.Body = json.RawMessage(fmt.Sprintf(`{"text":"text %d of conversation %d: the quick brown fox jumps over the lazy dog"}`, number, conversation))
	}
	if number%10 == 1 && number > importedPeople {
		e.State.SeenBy = map[string]string{memberAt(conversation, (number+1)%importedPeople): momentAt(conversation, number+1)}
	}
	return e
}

// writeExport writes a history in the simple form, the conversations one after another.
func writeExport(t *testing.T, file string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := bufio.NewWriter(f)
	line := func(kind, conversation string, thing any) {
		raw, err := json.Marshal(thing)
		if err != nil {
			t.Fatal(err)
		}
		if conversation != "" {
			conversation = fmt.Sprintf(`"conversation_id":%q,`, conversation)
		}
		fmt.Fprintf(out, "{\"kind\":%q,%s%s\n", kind, conversation, raw[1:])
	}
	type named struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	type member struct {
		ID        string            `json:"id"`
		User      string            `json:"user_id"`
		State     string            `json:"state"`
		Timestamp map[string]string `json:"timestamp"`
	}
	for n := range importedUsers {
		line("user", "", named{userAt(n), fmt.Sprintf("user-%d", n)})
	}
	for c := range importedConversations {
		line("conversation", "", named{conversationAt(c), fmt.Sprintf("conversation-%d", c)})
		for n := range importedPeople {
			line("member", conversationAt(c), member{memberAt(c, n), userAt((c + n) % importedUsers), "JOINED", map[string]string{"joined": momentAt(c, n)}})
		}
		for n := 1; n <= importedEvents; n++ {
			line("event", conversationAt(c), eventAt(c, n))
		}
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
}

// pseudoTerminal opens both ends of one.
func pseudoTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return person, program
}

// importer is how the tests run 'parley import'.
type importer struct {
	dir string // with the application's record, and the journal
}

func newImporter(t *testing.T, url string) *importer {
	t.Helper()
	i := &importer{t.TempDir()}
	writeExport(t, filepath.Join(i.dir, "history.jsonl"))
	if out, err := i.command(url, "app:create", "imported").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return i
}

func (i *importer) command(url string, args ...string) *exec.Cmd {
	command := exec.Command(binary, args...)
	command.Dir = i.dir
	command.Env = append(os.Environ(), "PARLEY_URL="+url, "PARLEY_API_KEY="+apiKey, "PARLEY_API_SECRET="+apiSecret)
	return command
}

// bar is what the progress bar looks like at some moment.
var bar = regexp.MustCompile(`\r\[#*\.*\] +(\d+) %  \d+ of \d+`)

// watched imports before the eyes of a person, who calls seen with each percentage that is shown until it
// says false; then the importer is killed. It gives what was shown.
func (i *importer) watched(t *testing.T, url string, seen func(percent int) bool) string {
	t.Helper()
	person, program := pseudoTerminal(t)
	command := i.command(url, "import", "--rate", "100000", "history.jsonl")
	command.Stderr = program
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	_ = program.Close()
	shown, chunk := "", make([]byte, 4096)
	for {
		n, err := person.Read(chunk)
		if err != nil { // the importer has ended
			break
		}
		shown += string(chunk[:n])
		if all := bar.FindAllStringSubmatch(shown, -1); len(all) > 0 {
			if percent, _ := strconv.Atoi(all[len(all)-1][1]); !seen(percent) {
				_ = command.Process.Kill()
			}
		}
	}
	_ = command.Wait()
	return shown
}

// rest imports what is left where nobody looks, and gives what it said.
func (i *importer) rest(t *testing.T, url string) string {
	t.Helper()
	command := i.command(url, "import", "--rate", "100000", "history.jsonl")
	var errOut bytes.Buffer
	command.Stderr = &errOut
	began := time.Now()
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &errOut)
	}
	if strings.ContainsAny(errOut.String(), "\r#") {
		t.Errorf("a bar where nobody looks: %q", &errOut)
	}
	usage, _ := command.ProcessState.SysUsage().(*syscall.Rusage)
	if usage.Maxrss<<10 > importMemoryMax {
		t.Errorf("the importer took %d KiB", usage.Maxrss)
	}
	t.Logf("%s after %s, %d MiB", strings.TrimSpace(string(out)), time.Since(began).Round(time.Millisecond), usage.Maxrss>>10)
	return string(out)
}

// check compares every event of a node's with what was exported.
func (i *importer) check(t *testing.T, url string) {
	t.Helper()
	token, err := i.command(url, "jwt:generate").Output()
	if err != nil {
		t.Fatal(err)
	}
	for c := range importedConversations {
		request, err := http.NewRequest(http.MethodGet, url+"/beta/conversations/"+conversationAt(c)+"/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		var found []importedEvent
		err = json.NewDecoder(answer.Body).Decode(&found)
		_ = answer.Body.Close()
		if err != nil || len(found) != importedEvents {
			t.Fatalf("conversation %d: status %d, %d events, %v", c, answer.StatusCode, len(found), err)
		}
		for n, got := range found {
			want := eventAt(c, n+1)
			if want.Deleted != "" {
				want.Body, want.Deleted = json.RawMessage(fmt.Sprintf(`{"timestamp":{"deleted":"%s"}}`, want.Deleted)), ""
			}
			if !equalJSON(t, got, want) {
				t.Fatalf("conversation %d, event %d: %+v %s, want %+v %s", c, n+1, got, got.Body, want, want.Body)
			}
		}
	}
}

func equalJSON(t *testing.T, a, b any) bool {
	t.Helper()
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	if errX != nil || errY != nil {
		t.Fatal(errX, errY)
	}
	return bytes.Equal(x, y)
}

// TestALongHistoryIsImported although the importer is killed in the middle: it goes on where it was, shows
// that where somebody looks, and nothing is missing, twice or changed.
func TestALongHistoryIsImported(t *testing.T) {
	node := start(t, t.TempDir())
	i := newImporter(t, node.url)
	shown := i.watched(t, node.url, func(percent int) bool { return percent < 30 })
	if !strings.Contains(shown, "\r[########") {
		t.Errorf("shown was %q", shown)
	}
	if out := i.rest(t, node.url); !strings.Contains(out, "Done before: ") || strings.Contains(out, fmt.Sprint(importedConversations, " conversations")) {
		t.Errorf("it did not go on where it was: %s", out)
	}
	i.check(t, node.url)

	shown = i.watched(t, node.url, func(int) bool { return true })
	if all := bar.FindAllStringSubmatch(shown, -1); len(all) == 0 || all[len(all)-1][1] != "100" {
		t.Errorf("once more, and it shows %q", shown)
	}
	i.check(t, node.url)
}

// TestAHistoryIsImportedWhileANodeIsKilled: the importer asks again until another leads, and goes on at
// another node with what it remembers.
func TestAHistoryIsImportedWhileANodeIsKilled(t *testing.T) {
	c := newTrio(t, "n1", "n2", "n3")
	c.healed(t, "n2", 3)
	i := newImporter(t, c.nodes["n1"].url)
	i.watched(t, c.nodes["n1"].url, func(percent int) bool {
		if percent >= 10 {
			c.nodes["n3"].kill()
		}
		return percent < 50
	})
	if out := i.rest(t, c.nodes["n2"].url); !strings.Contains(out, "Done before: ") {
		t.Errorf("it did not go on where it was: %s", out)
	}
	c.run(t, "n3", c.ports["n1"][1])
	c.await(t, "n3")
	c.healed(t, "n3", 3)
	for _, name := range c.names {
		i.check(t, c.nodes[name].url)
	}
}
