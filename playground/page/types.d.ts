
/** Which of the two texts a problem is in. */
export type Place = "policies" | "request";

/** What is wrong in a text. */
export interface Problem {
  place: Place;
  /** From 1; null where it is not known. */
  line: number | null;
  /** From 1; null where it is not known. */
  column: number | null;
  /** `kind namespace/name`; empty outside a resource. */
  resource: string;
  /** Path of the field; empty for the text as a whole. */
  path: string;
  problem: string;
}

/** A resource that has the shape of its kind. */
export interface Resource {
  kind: string;
  namespace: string;
  name: string;
}

/** Which policies there are. */
export interface Checked {
  resources: Resource[];
  /** Every problem of every resource. */
  problems: Problem[];
}

/** Whether a request passes. */
export type Verdict = "allow" | "deny";

/** What becomes of a request. */
export interface Decided {
  verdict: Verdict;
  /** The reason's stable name. */
  reason: string;
  /** The rule that decided, as Istio names it. */
  policy: string | null;
  /** The reason in a sentence. */
  detail: string;
}

/** A condition that does not hold. */
export interface Condition {
  /** Where it was written. */
  path: string;
  /** What it looks at. */
  attribute: string;
  /** What was written there. */
  wanted: string[];
  /** The values in the request; none if it has no such attribute. */
  seen: string[];
}

/** What a rule has to say. */
export interface Rule {
  /** `ALLOW`, `DENY` or `AUDIT`. */
  action: string;
  /** The rule, as Istio names it. */
  rule: string;
  /** Line of the policies at which it begins. */
  line: number | null;
  /** Whether it is of a dry-run policy, which changes no verdict. */
  dryRun: boolean;
  matched: boolean;
  /** Where it does not match: the first failing condition of each alternative. */
  failed: Condition[];
}

/** What becomes of a request, and why. */
export interface Explained {
  decision: Decided;
  /** The AUDIT rule that matches. */
  audit: string | null;
  /** What would become of the request with the dry-run policies enforced. */
  dryRun: Decided | null;
  /** The policies that apply to the workload, as `namespace/name`. */
  applying: string[];
  rules: Rule[];
}

/** An answer, or what keeps it from being given. */
export type Answer<T> =
  | { kind: "answer"; answer: T }
  | { kind: "problems"; problems: Problem[] };
