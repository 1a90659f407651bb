package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"go.yaml.in/yaml/v3"

	"github.com/oei-ms/oei-ms/gen/asyncapi"
)

// MQTTServer is where gateways connect. Name is that of the server in asyncapi.yaml; an empty Host
// is the host that a request for the document names.
type MQTTServer struct {
	Name, Protocol, Host string
	Port                 int
}

// liveServer is the name in asyncapi.yaml of the server of WebSockets.
const liveServer = "live"

// Placeholders of the document that are replaced in each answer.
const (
	hostPlaceholder     = "HOST.of.request"     // without a port
	addressPlaceholder  = "ADDRESS.of.request"  // with the port, if any
	protocolPlaceholder = "PROTOCOL.of.request" // ws or wss
	pathPlaceholder     = "PATH.of.request"     // below which a proxy shows the server
)

// asyncAPI is asyncapi.yaml with the servers that this instance has.
type asyncAPI struct{ yaml, json []byte }

// newAsyncAPI returns the document with these MQTT servers.
func newAsyncAPI(servers []MQTTServer) (*asyncAPI, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(asyncapi.YAML, &document); err != nil {
		return nil, fmt.Errorf("asyncapi.yaml: %w", err)
	}
	root := document.Content[0]
	root.HeadComment = ""
	if err := setServers(root, servers); err != nil {
		return nil, fmt.Errorf("asyncapi.yaml: %w", err)
	}
	var a asyncAPI
	var err error
	if a.yaml, err = yaml.Marshal(root); err != nil {
		return nil, fmt.Errorf("asyncapi.yaml: %w", err)
	}
	var text bytes.Buffer
	if err := appendJSON(&text, root); err != nil {
		return nil, fmt.Errorf("asyncapi.yaml: %w", err)
	}
	a.json = text.Bytes()
	return &a, nil
}

// setServers gives the servers of the document their addresses, and removes MQTT servers that are
// not among servers.
func setServers(root *yaml.Node, servers []MQTTServer) error {
	list := yamlMember(root, "servers")
	kept := map[string]bool{liveServer: true}
	set := func(name, protocol, address string) error {
		host := yamlMember(yamlMember(list, name), "host")
		if host == nil {
			return fmt.Errorf("no server is named %s", name)
		}
		host.Value, kept[name] = address, true
		yamlMember(yamlMember(list, name), "protocol").Value = protocol
		return nil
	}
	if err := set(liveServer, protocolPlaceholder, addressPlaceholder); err != nil {
		return err
	}
	live := yamlMember(list, liveServer)
	live.Content = append(live.Content,
		&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "pathname"},
		&yaml.Node{
			Kind: yaml.ScalarNode, Tag: "!!str", Value: pathPlaceholder,
			Style: yaml.DoubleQuotedStyle,
		})
	for _, s := range servers {
		host := s.Host
		if host == "" {
			host = hostPlaceholder
		}
		address := net.JoinHostPort(host, strconv.Itoa(s.Port))
		if err := set(s.Name, s.Protocol, address); err != nil {
			return err
		}
	}
	list.Content = slices.Concat(slices.Collect(func(yield func([]*yaml.Node) bool) {
		for pair := range slices.Chunk(list.Content, 2) {
			if kept[pair[0].Value] && !yield(pair) {
				return
			}
		}
	})...)
	channels := yamlMember(root, "channels").Content
	for i := 1; i < len(channels); i += 2 {
		refs := yamlMember(channels[i], "servers")
		refs.Content = slices.DeleteFunc(refs.Content, func(ref *yaml.Node) bool {
			return !kept[strings.TrimPrefix(yamlMember(ref, "$ref").Value, "#/servers/")]
		})
	}
	return nil
}

// yamlMember returns the value of a member of a mapping, or nil.
func yamlMember(n *yaml.Node, name string) *yaml.Node {
	if n == nil {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

// appendJSON writes n with the members in their order.
func appendJSON(out *bytes.Buffer, n *yaml.Node) error {
	switch n.Kind {
	case yaml.MappingNode:
		separator := byte('{')
		for pair := range slices.Chunk(n.Content, 2) {
			out.WriteByte(separator)
			separator = ','
			name, err := json.Marshal(pair[0].Value)
			if err != nil {
				return err
			}
			out.Write(name)
			out.WriteByte(':')
			if err := appendJSON(out, pair[1]); err != nil {
				return err
			}
		}
		if len(n.Content) == 0 {
			out.WriteByte('{')
		}
		out.WriteByte('}')
		return nil
	case yaml.SequenceNode:
		out.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				out.WriteByte(',')
			}
			if err := appendJSON(out, item); err != nil {
				return err
			}
		}
		out.WriteByte(']')
		return nil
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return err
	}
	text, err := json.Marshal(v)
	out.Write(text)
	return err
}

// serve answers with text, in which it puts the address of the request.
func (a *asyncAPI) serve(c echo.Context, kind string, text []byte) error {
	address, protocol := plainHost(c.Request().Host), "ws"
	if c.Scheme() == "https" {
		protocol = "wss"
	}
	host := address
	if h, _, err := net.SplitHostPort(address); err == nil {
		host = h
	}
	body := []byte(strings.NewReplacer(hostPlaceholder, host, addressPlaceholder, address,
		protocolPlaceholder, protocol,
		pathPlaceholder, prefixOf(c.Request().Context())).Replace(string(text)))
	sum := sha256.Sum256(body)
	h := c.Response().Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(c.Response(), c.Request(), "", time.Time{}, bytes.NewReader(body))
	return nil
}

// plainHost returns the host of a request, or localhost if it has characters that a name or an
// address has not: the host becomes part of a YAML scalar.
func plainHost(host string) string {
	const others = "-._:[]"
	strange := func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') &&
			!strings.ContainsRune(others, r)
	}
	if host == "" || strings.ContainsFunc(host, strange) {
		return "localhost"
	}
	return host
}
