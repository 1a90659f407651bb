package server

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
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
	sum      string
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
	sum := sha256.Sum256(template)
	return &servedContract{template: template, sum: hex.EncodeToString(sum[:8])}, nil
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
	body := bytes.ReplaceAll(s.template, []byte(prefixMark), []byte(prefix))
	body = bytes.ReplaceAll(body, []byte(serverMark), []byte(cmp.Or(prefix, "/")))
	h := c.Response().Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", fmt.Sprintf("%q", s.sum+strings.ReplaceAll(prefix, "/", ".")))
	http.ServeContent(c.Response(), c.Request(), "", time.Time{}, bytes.NewReader(body))
	return nil
}
