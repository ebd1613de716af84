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
	"path/filepath"
	"regexp"
	"slices"
)

// conversationID finds ids in links and names of files.
var conversationID = regexp.MustCompile(`CON-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// Read reads the files that paths name; of a folder all .json, .jsonl and .ndjson below it. What it gives
// has been checked: with Fatal problems it is not fit for an import.
func Read(paths ...string) (*Export, error) {
	return read(&files{open: openFile, spansMax: SpansMax}, paths)
}

func read(from *files, paths []string) (*Export, error) {
	names, err := list(paths)
	if err != nil {
		return nil, err
	}
	from.names = names
	x := &Export{files: from, known: map[string]*Conversation{}, users: map[string]*User{}}
	digest := sha256.New()
	for number, name := range names {
		if err := x.readFile(number, digest); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
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
func (x *Export) readFile(number int, digest hash.Hash) error {
	name := x.files.names[number]
	f, err := x.files.open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	in := io.TeeReader(f, digest)
	m := &marker{files: x.files, file: uint32(number)}
	if filepath.Ext(name) == ".json" {
		return x.readWhole(in, name, m)
	}
	return x.readLines(in, name, m)
}

// readWhole reads one JSON value.
func (x *Export) readWhole(in io.Reader, name string, m *marker) error {
	raw, err := readAll(in)
	if err != nil {
		return err
	}
	found := 0
	if line := invalidLine(raw); line > 0 {
		x.problem(Place{name, line}, true, "", "not valid JSON")
	} else {
		found = x.takeAll(&text{raw: raw, at: Place{name, 1}}, conversationID.FindString(name), m)
	}
	if found == 0 {
		x.problem(Place{name, 1}, false, "", "holds no user, conversation, member or event")
	}
	return x.files.full()
}

func readAll(in io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(in, FileBytesMax+1))
	if err == nil && len(raw) > FileBytesMax {
		err = fmt.Errorf("larger than %d bytes: save it in parts, or as JSON Lines", FileBytesMax)
	}
	return raw, err
}

// invalidLine is the line from which on raw is not JSON; 0 = it is.
func invalidLine(raw []byte) int {
	if json.Valid(raw) {
		return 0
	}
	line := 1
	var syntax *json.SyntaxError
	if errors.As(json.Unmarshal(raw, new(any)), &syntax) {
		line += bytes.Count(raw[:min(int(syntax.Offset), len(raw))], []byte("\n"))
	}
	return line
}

// readLines reads one JSON value a line.
func (x *Export) readLines(in io.Reader, name string, m *marker) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), lineBytesMax)
	lines.Split(wholeLines)
	at, offset := Place{name, 0}, int64(0)
	for lines.Scan() {
		at.Line++
		line := &text{raw: lines.Bytes(), start: offset, at: at}
		offset += int64(len(line.raw))
		trimmed := bytes.TrimSpace(line.raw)
		if len(trimmed) > 0 && !json.Valid(trimmed) {
			x.problem(at, true, "", "not valid JSON")
			continue
		}
		if found := x.takeAll(line, "", m); found == 0 && len(trimmed) > 0 {
			x.problem(at, true, "", noThing)
		}
		m.pass(line)
		if err := x.files.full(); err != nil {
			return err
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		x.problem(Place{name, at.Line + 1}, true, "", "the line is longer than %d bytes", lineBytesMax)
		return nil
	}
	return lines.Err()
}

// noThing is told of what was expected to be a thing.
const noThing = "neither a user nor a conversation, member or event"

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

// takeAll takes what t holds, and notes where events are. It says how many things it found.
func (x *Export) takeAll(t *text, conversation string, m *marker) int {
	found := 0
	item{raw: t.raw, conversation: conversation}.walk(func(i *item) {
		found++
		i.at = t.place(i.start)
		if c := x.take(i); c != nil {
			m.note(c, t, i)
		}
	})
	return found
}
