package export

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// span is a part of a file that holds events of one conversation.
type span struct {
	file       string
	start, end int64
	line       int // of start
}

// conversationID finds ids in links and names of files.
var conversationID = regexp.MustCompile(`CON-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// Read reads the files that paths name; of a folder all .json, .jsonl and .ndjson below it. What it gives
// has been checked: with Fatal problems it is not fit for an import.
func Read(paths ...string) (*Export, error) {
	files, err := list(paths)
	if err != nil {
		return nil, err
	}
	x := &Export{known: map[string]*Conversation{}, users: map[string]*User{}}
	digest := sha256.New()
	for _, file := range files {
		if err := x.readFile(file, digest); err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
	}
	x.Digest = hex.EncodeToString(digest.Sum(nil))
	return x, x.link()
}

func list(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		err := filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			switch filepath.Ext(file) {
			case ".json", ".jsonl", ".ndjson":
				files = append(files, file)
			default:
				if file == path {
					return fmt.Errorf("%s: must end in .json, .jsonl or .ndjson", file)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(files) == 0 {
		return nil, errors.New("no .json, .jsonl or .ndjson files there")
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// readFile takes everything but events from a file, and notes where those are.
func (x *Export) readFile(file string, digest hash.Hash) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	in := io.TeeReader(f, digest)
	if filepath.Ext(file) != ".json" {
		return x.readLines(in, file)
	}
	raw, err := readAll(in)
	if err != nil {
		return err
	}
	var of *Conversation
	empty := true
	err = eachItem(raw, file, func(i *item) {
		empty = false
		if c := x.take(i); c != nil && c != of {
			of = c
			c.spans = append(c.spans, span{file, 0, int64(len(raw)), 1})
		}
	}, x.problem)
	if empty {
		x.problem(Place{file, 1}, false, "", "holds no user, conversation, member or event")
	}
	return err
}

func readAll(in io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(in, FileBytesMax+1))
	if err == nil && len(raw) > FileBytesMax {
		err = fmt.Errorf("larger than %d bytes: save it in parts, or as JSON Lines", FileBytesMax)
	}
	return raw, err
}

// readLines reads one JSON value a line. Lines of one conversation's events that follow each other are
// one span.
func (x *Export) readLines(in io.Reader, file string) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), LineBytesMax)
	lines.Split(wholeLines)
	at, offset := Place{file, 0}, int64(0)
	var last *Conversation
	for lines.Scan() {
		at.Line++
		start, size := offset, int64(len(lines.Bytes()))
		offset += size
		text := bytes.TrimSpace(lines.Bytes())
		if len(text) == 0 {
			continue
		}
		if !json.Valid(text) {
			x.problem(at, true, "", "not valid JSON")
			continue
		}
		walkItems(text, &item{at: at}, func(i *item) {
			i.raw = bytes.Clone(i.raw)
			c := x.take(i)
			switch {
			case c == nil:
			case c == last && len(c.spans) > 0 && c.spans[len(c.spans)-1].end == start:
				c.spans[len(c.spans)-1].end = offset
			case c != last || c.spans[len(c.spans)-1].end < offset:
				c.spans = append(c.spans, span{file, start, offset, at.Line})
			}
			if c != nil {
				last = c
			}
		})
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		x.problem(Place{file, at.Line + 1}, true, "", "the line is longer than %d bytes", LineBytesMax)
		return nil
	}
	return lines.Err()
}

// wholeLines splits like bufio.ScanLines, but leaves the ends in, so that offsets add up.
func wholeLines(data []byte, end bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i+1], nil
	}
	if end && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// item is one thing of an export, with what stands round it.
type item struct {
	at           Place
	raw          json.RawMessage
	kind         string // "users", "conversations", "members" or "events"; empty = look at the thing
	conversation string // that its surroundings name
}

// eachItem finds the things in a file of JSON, with their lines.
func eachItem(raw []byte, file string, found func(*item), problem func(Place, bool, string, string, ...any)) error {
	if !json.Valid(raw) {
		line := 1
		var syntax *json.SyntaxError
		if errors.As(json.Unmarshal(raw, new(any)), &syntax) {
			line += bytes.Count(raw[:min(int(syntax.Offset), len(raw))], []byte("\n"))
		}
		problem(Place{file, line}, true, "", "not valid JSON")
		return nil
	}
	position, line := 0, 1
	walkItems(raw, &item{at: Place{file, 1}, conversation: conversationID.FindString(file)}, func(i *item) {
		// Items are parts of the file, word for word and in its order.
		if next := bytes.Index(raw[position:], i.raw); next >= 0 {
			line += bytes.Count(raw[position:position+next], []byte("\n"))
			position += next
		}
		i.at.Line = line
		found(i)
	})
	return nil
}

// lists are the members of pages that hold things.
var lists = []string{"users", "conversations", "members", "events"}

// walkItems finds the things in a value: in arrays, and in pages of every generation.
func walkItems(raw json.RawMessage, around *item, found func(*item)) {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0:
	case raw[0] == '[':
		var all []json.RawMessage
		if json.Unmarshal(raw, &all) == nil {
			for _, one := range all {
				walkItems(one, around, found)
			}
		}
	case raw[0] == '{':
		walkObject(raw, around, found)
	}
}

func walkObject(raw json.RawMessage, around *item, found func(*item)) {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return
	}
	here := *around
	here.raw = raw
	for _, name := range []string{"id", "uuid", "member_id", "user_id"} {
		if _, ok := members[name]; ok {
			found(&here)
			return
		}
	}
	if id := conversationID.FindString(string(members["_links"])); id != "" {
		here.conversation = id
	}
	for _, name := range []string{"_embedded", "data"} {
		walkItems(members[name], &here, found)
	}
	for _, name := range lists {
		inner := here
		inner.kind = name
		walkItems(members[name], &inner, found)
	}
}

// kindOf says what an item is.
func (i *item) kindOf(f fields) string {
	if kind := f.text("kind"); kind != "" {
		return strings.TrimSuffix(kind, "s") + "s"
	}
	id := f.text("id", "uuid")
	switch {
	case strings.HasPrefix(id, "USR-"):
		return "users"
	case strings.HasPrefix(id, "CON-"):
		return "conversations"
	case strings.HasPrefix(id, "MEM-"), strings.HasPrefix(f.text("member_id", "name"), "MEM-"):
		return "members"
	case f.text("type") != "" && f.whole("id") > 0:
		return "events"
	}
	return i.kind
}
