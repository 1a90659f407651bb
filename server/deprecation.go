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

// deprecationOf reads x-deprecation, which every deprecated operation has, and x-sunset, after
// which oasdiff lets an operation be removed; nil for other operations.
func deprecationOf(op *openapi3.Operation) (*deprecation, error) {
	members, has := op.Extensions["x-deprecation"].(map[string]any)
	sunset, ends := op.Extensions["x-sunset"]
	switch {
	case op.Deprecated != has:
		return nil, errors.New("it needs both `deprecated: true` and x-deprecation, or neither")
	case !has && ends:
		return nil, errors.New("it has x-sunset and is not deprecated")
	case !has:
		return nil, nil
	}
	d := &deprecation{}
	d.guide, _ = members["guide"].(string)
	if d.guide == "" {
		return nil, errors.New("x-deprecation needs `guide`, a page of the guide")
	}
	var err error
	if d.since, err = dateOf(members["since"]); err != nil {
		return nil, fmt.Errorf("x-deprecation needs `since`, a date: %w", err)
	}
	if ends {
		if d.sunset, err = dateOf(sunset); err != nil {
			return nil, fmt.Errorf("x-sunset: %w", err)
		}
		if !d.sunset.After(d.since) {
			return nil, errors.New("x-sunset is not after `since` of x-deprecation")
		}
	}
	return d, nil
}

func dateOf(value any) (time.Time, error) {
	text, _ := value.(string)
	return time.Parse(time.DateOnly, text)
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
