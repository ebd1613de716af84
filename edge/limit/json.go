package limit

import "fmt"

// Defaults for JSON reads what clients send; they leave room for every body of the API.
const (
	JSONDepth   = 32    // arrays and objects within each other
	JSONMembers = 4_096 // object members and array elements together
)

// The numbers of events go up to the largest that every client can hold, JavaScript's largest safe integer. No
// conversation comes to it.
const (
	SequenceBits = 53
	SequenceMax  = 1<<SequenceBits - 1
)

// JSON refuses text that nests deeper than depth, or holds more than members members and
// elements, before a decoder spends memory on it. It does not check the grammar: text that is
// not JSON may pass, and the decoder refuses it afterwards.
func JSON(text []byte, depth, members int) error {
	nested, counted := 0, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i = closing(text, i+1)
		case '{', '[':
			if nested++; nested > depth {
				return fmt.Errorf("nests deeper than %d levels at byte %d", depth, i)
			}
		case '}', ']':
			nested--
		case ',': // every member beyond the first has one before it
			if counted++; counted >= members {
				return fmt.Errorf("has more than %d members and elements", members)
			}
		}
	}
	return nil
}

// closing gives the place of the quote that ends a string whose text begins at i.
func closing(text []byte, i int) int {
	for ; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return i
}
