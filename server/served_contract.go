package server

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"

	"github.com/oei-ms/oei-ms/gen/api"
)

// prefixMark and serverMark stand in the template of the served contract for the prefix of the
// request, and for the address of the server.
const (
	prefixMark = "{{prefix}}"
	serverMark = "{{server}}"
)

// servedContract answers GET /openapi.json. The addresses in the document have the prefix under
// which the client sees the service.
type servedContract struct {
	template []byte
	last     atomic.Pointer[renderedContract] // as nearly all requests have one prefix
}

// renderedContract is the document for clients that see the service below prefix.
type renderedContract struct {
	prefix, etag string
	body         []byte
}

func newServedContract() (*servedContract, error) {
	doc, err := api.GetSpec()
	if err != nil {
		return nil, fmt.Errorf("contract: %w", err)
	}
	for _, server := range doc.Servers {
		server.URL = serverMark
	}
	for _, scheme := range doc.Components.SecuritySchemes {
		markFlows(scheme.Value.Flows)
	}
	template, err := doc.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("contract: %w", err)
	}
	return &servedContract{template: template}, nil
}

func markFlows(flows *openapi3.OAuthFlows) {
	if flows == nil {
		return
	}
	for _, flow := range []*openapi3.OAuthFlow{
		flows.Implicit, flows.Password, flows.ClientCredentials, flows.AuthorizationCode,
	} {
		if flow == nil {
			continue
		}
		for _, url := range []*string{&flow.AuthorizationURL, &flow.TokenURL, &flow.RefreshURL} {
			if strings.HasPrefix(*url, "/") {
				*url = prefixMark + *url
			}
		}
	}
}

func (s *servedContract) serve(c echo.Context) error {
	prefix := prefixOf(c.Request().Context())
	doc := s.last.Load()
	if doc == nil || doc.prefix != prefix {
		doc = s.render(prefix)
		s.last.Store(doc)
	}
	h := c.Response().Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", doc.etag)
	http.ServeContent(c.Response(), c.Request(), "", time.Time{}, bytes.NewReader(doc.body))
	return nil
}

func (s *servedContract) render(prefix string) *renderedContract {
	body := bytes.ReplaceAll(s.template, []byte(prefixMark), []byte(prefix))
	body = bytes.ReplaceAll(body, []byte(serverMark), []byte(cmp.Or(prefix, "/")))
	sum := sha256.Sum256(body)
	return &renderedContract{
		prefix: prefix,
		etag:   `"` + hex.EncodeToString(sum[:8]) + `"`,
		body:   body,
	}
}
