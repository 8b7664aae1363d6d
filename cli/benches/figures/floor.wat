;; What no filter can do without that knows a request's connection and its headers: a context made and
;; deleted for each request, its headers' callback, and the three calls of the proxy that an allowed request
;; takes (time, number of the connection, headers). It looks at none of the answers and lets everything
;; pass. What Envoy takes for it is Envoy's and V8's, not a filter's.
(module
  (import "env" "proxy_get_current_time_nanoseconds" (func $time (param i32) (result i32)))
  (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_pairs" (func $headers (param i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (data (i32.const 1024) "connection_id")
  ;; Every answer goes to the same place: the second half of the memory, 128 KiB.
  (func (export "malloc") (param $size i32) (result i32)
    (if (i32.gt_u (local.get $size) (i32.const 131072)) (then (unreachable)))
    (i32.const 131072))
  (func (export "_initialize"))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_delete") (param i32))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    ;; 0 is "Ok"; a call that fails would be measured as a fast one.
    (if (call $time (i32.const 16)) (then (unreachable)))
    (if (call $property (i32.const 1024) (i32.const 13) (i32.const 24) (i32.const 28))
      (then (unreachable)))
    (if (call $headers (i32.const 0) (i32.const 24) (i32.const 28)) (then (unreachable)))
    (i32.const 0)))
