package server

import "github.com/gosimple/slug"

// maxKey is the maxLength of Key in the contract.
const maxKey = 64

// keyFor returns the key of a gateway or sensor that is created without one: its name if that has
// the form of a key, else the transliterated name. When that is empty, or a number that could be an
// id, the key begins with noun.
func (c *contract) keyFor(name, noun string) string {
	if c.isKey(name) {
		return name
	}
	key := slug.Make(name)
	switch {
	case key == "":
		return noun
	case c.isKey(key[:min(len(key), maxKey)]):
	default:
		key = noun + "-" + key
	}
	return key[:min(len(key), maxKey)]
}

func (c *contract) isKey(s string) bool { return c.key.VisitJSONString(s) == nil }
