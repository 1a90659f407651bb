package server

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/oei-ms/oei-ms/gen/api"
)

// maxBasePath is the maximum length of a base path, and of the prefixes of all proxies together.
const maxBasePath = 200

// sanePath matches paths without a slash at the end that a client can only read as a path of the
// same host: no empty segments, no dots in front, nothing that is escaped.
var sanePath = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$`)

// parsePath returns path without the slash at its end; empty for the root.
func parsePath(path string) (string, error) {
	trimmed := strings.TrimSuffix(path, "/")
	if len(trimmed) > maxBasePath {
		return "", fmt.Errorf("the path has %d characters; use at most %d",
			len(trimmed), maxBasePath)
	}
	if !sanePath.MatchString(trimmed) {
		return "", fmt.Errorf("%q is not a path; use the form /oei with letters, digits, "+
			".-_~, and no dot after a slash", path)
	}
	return trimmed, nil
}

// basePath returns BasePath without the slash at its end. It fails for a path that cannot be told
// from those of the service.
func (c Config) basePath() (string, error) {
	const name = "OEI_SERVER_BASE_PATH"
	base, err := parsePath(c.BasePath)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	if base == "" {
		return "", nil
	}
	doc, err := api.GetSpec()
	if err != nil {
		return "", fmt.Errorf("contract: %w", err)
	}
	first, _, _ := strings.Cut(base[1:], "/")
	for path := range doc.Paths.Map() {
		if own, _, _ := strings.Cut(path[1:], "/"); own == first {
			return "", fmt.Errorf("%s: the service has addresses that begin with /%s; "+
				"use another path, such as /oei", name, own)
		}
	}
	return base, nil
}
