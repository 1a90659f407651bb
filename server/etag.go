package server

import (
	"regexp"
	"strconv"

	"github.com/oei-ms/oei-ms/store"
)

func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

var entityTag = regexp.MustCompile(`^(W/)?"([\x21\x23-\x7e]*)"$`)

// ifMatch returns the version that If-Match requires: 0 for any, and -1, which no resource has, for
// a tag in another form.
func ifMatch(header *string) (int64, error) {
	if header == nil || *header == "*" {
		return 0, nil
	}
	tag := entityTag.FindStringSubmatch(*header)
	if tag == nil {
		return 0, invalid("If-Match", `is not valid; use one entity tag, such as "3", or *`)
	}
	version, err := strconv.ParseInt(tag[2], 10, 32)
	if err != nil || version < 1 || etag(version) != *header {
		return -1, nil
	}
	return version, nil
}

// checkIfMatch returns store.ErrStale when If-Match requires another version than current.
func checkIfMatch(header *string, current int64) error {
	version, err := ifMatch(header)
	if err == nil && version != 0 && version != current {
		err = store.ErrStale
	}
	return err
}
