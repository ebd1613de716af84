package main

import "strings"

// slipsMax is by how many letters a word may differ from a name that it is taken for.
const slipsMax = 3

// similar gives the names that a word, which is none of them, most likely stands for: those that begin with
// it, or else those from which it differs least. A third of its letters may be wrong, missing or too many.
func similar(word string, names []string) (near []string) {
	least := min(max(1, len(word)/3), slipsMax)
	for _, name := range names {
		slips := distance(word, name)
		if strings.HasPrefix(name, word) {
			slips = 0
		}
		switch {
		case slips < least:
			least, near = slips, []string{name}
		case slips == least:
			near = append(near, name)
		}
	}
	return near
}

// distance is how many letters have to be put in, taken out or replaced to make b of a (Levenshtein).
func distance(a, b string) int {
	to, from := []rune(strings.ToLower(b)), []rune(strings.ToLower(a))
	row := make([]int, len(to)+1) // of what was read of a so far, to each beginning of b
	for j := range row {
		row[j] = j
	}
	for i, c := range from {
		before := row[0]
		row[0] = i + 1
		for j, d := range to {
			replaced := before
			if c != d {
				replaced++
			}
			before, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, replaced)
		}
	}
	return row[len(to)]
}

// didYouMean ends a message about an unknown word; it is empty when nothing is near.
func didYouMean(word string, names []string) string {
	near := similar(word, names)
	if len(near) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(near, " or ") + "?"
}
