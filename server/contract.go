package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/store"
)

// contract is an index of openapi.yaml. Every request is looked up in it; unknown ones are refused.
type contract struct {
	operations map[string]*operation // by method and path in Echo's form
	methods    map[string][]string   // of each such path
	// closer holds the paths without parameters that a pattern also matches: /a/kpi for /a/:id
	closer map[string][]string
	key    *openapi3.Schema // of gateways and sensors
}

// none stands for the operation, method and path of requests that are not in the contract.
const none = "none"

// operation is one operation of the contract.
type operation struct {
	id, method, path string
	logAtInfo        bool // not only at debug: configuration, login and logout
	access
	parameters  []parameter
	body        openapi3.Content
	deprecation *deprecation // nil: it is not deprecated
}

// access holds who may call an operation.
type access struct {
	role      store.Role // required, or a higher one; empty: no login is required
	apiKey    bool       // an API key is accepted as well
	ticket    bool       // a ticket is accepted instead of a token
	anonymous bool       // so is neither: the client logs in later
}

var inBraces = regexp.MustCompile(`\{([^}]+)\}`)

// readContract fails on an operation that does not say who may call it.
func readContract() (*contract, error) {
	doc, err := api.GetSpec()
	if err != nil {
		return nil, fmt.Errorf("contract: %w", err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("contract: %w", err)
	}
	c, err := newContract(doc)
	if err != nil {
		return nil, err
	}
	key, ok := doc.Components.Schemas["Key"]
	if !ok {
		return nil, errors.New("contract: there is no schema Key")
	}
	c.key = key.Value
	return c, nil
}

func newContract(doc *openapi3.T) (*contract, error) {
	c := &contract{operations: make(map[string]*operation), methods: make(map[string][]string)}
	var errs []error
	for path, item := range doc.Paths.Map() {
		at := inBraces.ReplaceAllString(path, ":$1")
		for method, op := range item.Operations() {
			access, err := accessOf(op.Security)
			if err != nil {
				errs = append(errs, fmt.Errorf("contract: %s: %w", op.OperationID, err))
				continue
			}
			deprecation, err := deprecationOf(op)
			if err != nil {
				errs = append(errs, fmt.Errorf("contract: %s: %w", op.OperationID, err))
			}
			o := &operation{
				id:          op.OperationID,
				method:      method,
				path:        path,
				access:      access,
				deprecation: deprecation,
				logAtInfo: method != http.MethodGet && !slices.Contains(op.Tags, "data") &&
					!slices.Contains(op.Tags, "live"),
			}
			for _, p := range slices.Concat(item.Parameters, op.Parameters) {
				o.parameters = append(o.parameters, newParameter(p.Value))
			}
			if op.RequestBody != nil {
				o.body = op.RequestBody.Value.Content
				for kind, media := range o.body {
					if err := canCheck(media.Schema); err != nil {
						errs = append(errs,
							fmt.Errorf("contract: body of %s, %s: %w", op.OperationID, kind, err))
					}
				}
			}
			c.operations[method+" "+at] = o
			c.methods[at] = append(c.methods[at], method)
		}
		if slices.Contains(c.methods[at], http.MethodGet) {
			c.methods[at] = append(c.methods[at], http.MethodHead)
		}
		slices.Sort(c.methods[at])
	}
	c.closer = make(map[string][]string)
	for at := range c.methods {
		for other := range c.methods {
			if other != at && fits(at, other) {
				c.closer[at] = append(c.closer[at], other)
			}
		}
	}
	return c, errors.Join(errs...)
}

// fits reports whether a path matches a pattern in Echo's form.
func fits(pattern, path string) bool {
	ps, segments := strings.Split(pattern, "/"), strings.Split(path, "/")
	return slices.EqualFunc(ps, segments,
		func(p, segment string) bool { return p == segment || strings.HasPrefix(p, ":") })
}

// accessOf reads `security`: none, or a role, which an API key, a ticket or no login may be
// alternatives to.
func accessOf(security *openapi3.SecurityRequirements) (access, error) {
	if security == nil {
		return access{}, errors.New(
			"it has no security; give it a role or an explicit `security: []`",
		)
	}
	var a access
	for _, alternative := range *security {
		role, isRole := alternative["oauth2"]
		_, isKey := alternative["api_key"]
		_, isTicket := alternative["ticket"]
		switch {
		case len(alternative) == 0:
			a.anonymous = true
		case len(alternative) == 1 && isKey:
			a.apiKey = true
		case len(alternative) == 1 && isTicket:
			a.ticket = true
		case len(alternative) == 1 && isRole && len(role) == 1 && store.Role(role[0]).Valid():
			a.role = store.Role(role[0])
		default:
			return access{}, fmt.Errorf("its security %v is not one role", alternative)
		}
	}
	if a.role == "" && len(*security) > 0 {
		return access{}, errors.New("its security names no role")
	}
	return a, nil
}

// covers fails unless routes are exactly the operations of the contract.
func (c *contract) covers(routes []*echo.Route) error {
	var errs []error
	routed := make(map[string]bool, len(routes))
	for _, r := range routes {
		key := r.Method + " " + r.Path
		routed[key] = true
		if c.operations[key] == nil {
			errs = append(errs, fmt.Errorf("route %s is not in the contract", key))
		}
	}
	for key, op := range c.operations {
		if !routed[key] {
			errs = append(errs, fmt.Errorf("operation %s has no route %s", op.id, key))
		}
	}
	return errors.Join(errs...)
}

// find returns the operation to which Echo has routed c. When there is none, it returns a problem,
// and the access that is required to be told.
func (c *contract) find(ctx echo.Context) (*operation, *problem) {
	at := ctx.Path()
	for _, v := range ctx.ParamValues() {
		if strings.Contains(v, "/") { // Echo's last parameter takes the rest of the path
			at = ""
		}
	}
	for _, other := range c.closer[at] { // Echo takes /a/:id where /a/kpi has other methods
		if fits(other, ctx.Request().URL.Path) {
			at = other
		}
	}
	if op := c.operations[ctx.Request().Method+" "+at]; op != nil {
		return op, nil
	}
	methods := c.methods[at]
	if len(methods) == 0 {
		return &operation{id: none, method: none, path: none, access: access{role: store.Viewer}},
			&problem{
				status: http.StatusNotFound,
				detail: "This address does not exist; see " +
					address(ctx.Request().Context(), "/docs") + " for those that do.",
			}
	}
	gone := &operation{id: none, method: none, path: none}
	for _, m := range methods {
		if op := c.operations[m+" "+at]; op != nil && op.role != "" {
			gone.access = access{role: store.Viewer}
		}
	}
	allow := strings.Join(methods, ", ")
	return gone, &problem{
		status: http.StatusMethodNotAllowed,
		detail: "Use one of " + allow + " here.",
		header: map[string]string{"Allow": allow},
	}
}

// enforce passes requests that the contract allows: it checks the role first, then the form.
func (s *Server) enforce(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		op, nowhere := s.contract.find(c)
		call := callOf(c.Request().Context())
		call.operation, call.method, call.endpoint = op.id, op.method, op.path
		call.logAtInfo = op.logAtInfo
		if op.deprecation != nil {
			op.deprecation.announce(c)
		}
		if err := refuseKeyInAddress(c.Request()); err != nil {
			return err
		}
		var err error
		if call.principal, err = s.admit(c.Request(), op); err != nil {
			return err
		}
		if nowhere != nil {
			return nowhere
		}
		if err := s.validate(c, op); err != nil {
			return err
		}
		return next(c)
	}
}
