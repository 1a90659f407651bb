package server

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"
)

// deprecation says since when an operation is deprecated, when it will end, and where the guide
// says what to use instead.
type deprecation struct {
	since, sunset time.Time // sunset is zero when the end is not decided
	guide         string    // a page and its heading: live#deprecated-addresses
}

// deprecationOf reads x-deprecation, which every deprecated operation has; nil for others.
func deprecationOf(op *openapi3.Operation) (*deprecation, error) {
	members, has := op.Extensions["x-deprecation"].(map[string]any)
	switch {
	case op.Deprecated != has:
		return nil, errors.New("it needs both `deprecated: true` and x-deprecation, or neither")
	case !has:
		return nil, nil
	}
	d := &deprecation{}
	for name, value := range members {
		text, _ := value.(string)
		var err error
		switch name {
		case "since":
			d.since, err = time.Parse(time.DateOnly, text)
		case "sunset":
			d.sunset, err = time.Parse(time.DateOnly, text)
		case "guide":
			d.guide = text
		default:
			err = errors.New("is not known")
		}
		if err != nil {
			return nil, fmt.Errorf("x-deprecation.%s: %w", name, err)
		}
	}
	switch {
	case d.since.IsZero() || d.guide == "":
		return nil, errors.New("x-deprecation needs `since` and `guide`")
	case !d.sunset.IsZero() && !d.sunset.After(d.since):
		return nil, errors.New("x-deprecation: `sunset` is not after `since`")
	}
	return d, nil
}

// announce adds Deprecation (RFC 9745), Sunset (RFC 8594) and Link to the answer, besides the Link
// that the handler may set.
func (d *deprecation) announce(c echo.Context) {
	h := c.Response().Header()
	h.Set("Deprecation", fmt.Sprintf("@%d", d.since.Unix()))
	if !d.sunset.IsZero() {
		h.Set("Sunset", d.sunset.Format(http.TimeFormat))
	}
	link := fmt.Sprintf(`<%s>; rel="deprecation"; type="text/html"`,
		address(c.Request().Context(), "%s%s", guidePath, d.guide))
	add := func() {
		if !slices.Contains(h.Values("Link"), link) {
			h.Add("Link", link)
		}
	}
	add()                    // for a WebSocket, whose handshake is written by the hub
	c.Response().Before(add) // generated code replaces Link
}
