package server

import (
	"regexp"
	"strconv"

	"github.com/oei-ms/oei-ms/store"
)

func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

var entityTag = regexp.MustCompile(`^(W/)?"([\x21\x23-\x7e]*)"$`)

// ifMatch returns the version that If-Match asks for: 0 for any, -1, which nothing has, for a tag
// that is not one of ours.
func ifMatch(header *string) (int64, error) {
	if header == nil || *header == "*" {
		return 0, nil
	}
	tag := entityTag.FindStringSubmatch(*header)
	if tag == nil {
		return 0, invalid("If-Match", `is not one entity tag, such as "3", nor *`)
	}
	version, err := strconv.ParseInt(tag[2], 10, 32)
	if err != nil || version < 1 || etag(version) != *header {
		return -1, nil
	}
	return version, nil
}

// checkIfMatch refuses a change that If-Match has based on another version than what is there.
func checkIfMatch(header *string, current int64) error {
	version, err := ifMatch(header)
	if err == nil && version != 0 && version != current {
		err = store.ErrStale
	}
	return err
}
