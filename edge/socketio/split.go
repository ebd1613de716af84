package socketio

import (
	"bytes"
	"encoding/json"
)

// What clients send is read member by member, in place: a text in a conversation of thousands is
// followed by thousands of receipts, and decoding each into maps would be most of their cost.

// elements visits the values of an array. text is valid JSON and no larger than a packet.
func elements(text []byte, visit func(i int, value []byte)) {
	s := splitter{text: text, at: 1}
	for i := 0; s.more(']'); i++ {
		visit(i, s.value())
	}
}

// members visits the members of an object, which is valid JSON, in their order. A name that comes
// twice is visited twice.
func members(text []byte, visit func(name, value []byte)) {
	s := splitter{text: text, at: 1}
	for s.more('}') {
		name := s.value()
		s.more('}') // passes the colon
		visit(unquoted(name), s.value())
	}
}

// unquoted is the text of a JSON string.
func unquoted(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return nil // valid JSON has a text
	}
	return []byte(text)
}

// splitter takes valid JSON apart, one level of it.
type splitter struct {
	text []byte
	at   int
}

// more goes to the next value; false at the closing bracket.
func (s *splitter) more(closing byte) bool {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\r', '\n', ',', ':':
			s.at++
		default:
			return s.text[s.at] != closing
		}
	}
	return false
}

// value takes the value that begins here.
func (s *splitter) value() []byte {
	begin, nested := s.at, 0
	for ; s.at < len(s.text); s.at++ {
		switch s.text[s.at] {
		case '"':
			s.skipString()
		case '{', '[':
			nested++
			continue
		case '}', ']':
			if nested == 0 {
				return s.text[begin:s.at] // of the array or object round a number or word
			}
			nested--
		case ' ', '\t', '\r', '\n', ',', ':':
			if nested == 0 {
				return s.text[begin:s.at]
			}
			continue
		default:
			continue
		}
		if nested == 0 {
			s.at++
			return s.text[begin:s.at]
		}
	}
	return s.text[begin:]
}

// skipString goes to the quote that ends the string which begins here.
func (s *splitter) skipString() {
	for s.at++; s.at < len(s.text) && s.text[s.at] != '"'; s.at++ {
		if s.text[s.at] == '\\' {
			s.at++
		}
	}
}
